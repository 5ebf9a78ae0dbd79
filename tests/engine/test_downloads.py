"""Weights that a checkpoint replaces are not fetched."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from conftest import ROOT
from mmfastvit import CheckpointError
from mmfastvit.checkpoints import read
from mmfastvit.engine import runner
from mmfastvit.engine.config import load_config
from mmfastvit.engine.downloads import drop_replaced_downloads

PUBLISHED = dict(type='Pretrained', checkpoint='apple://in1k')


@pytest.fixture
def config(shapes, tmp_path, monkeypatch):
    """Return a tiny classifier's config, which is to start from Apple's weights."""
    def refuse(*_):
        raise OSError('no network')
    monkeypatch.setattr(read, '_fetch', refuse)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))  # nothing fetched before

    def load(name, **changes):
        for split in ('train', 'val', 'test'):
            changes[f'{split}_dataloader.dataset.data_root'] = f'{shapes}/crops'
        cfg = load_config(ROOT / 'tests' / 'engine' / 'tiny_classifier.py', {
            'model.backbone.init_cfg': PUBLISHED, 'train_cfg.max_epochs': 1,
            **changes}, tmp_path / 'work')
        cfg.experiment_name = f'{tmp_path.name}_{name}'
        return cfg
    yield load
    DefaultScope._instance_dict.clear()


def test_fine_tuning_and_resuming_without_a_network(config, tmp_path):
    with pytest.raises(CheckpointError, match='no network'):
        runner.train(config('nothing'), resume='auto')
    model = runner.build_runner(config('weights')).model
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    runner.train(config('tuned', load_from=str(tmp_path / 'model.pth')))
    resumed = runner.train(config('resumed', **{'train_cfg.max_epochs': 2}),
                           resume='auto')
    assert resumed.epoch == 2


def test_what_a_checkpoint_does_not_hold_is_fetched(tmp_path):
    torch.save({'backbone.stem': torch.ones(1)}, tmp_path / 'whole.pth')
    torch.save({'head.fc': torch.ones(1)}, tmp_path / 'head.pth')
    local = dict(type='Pretrained', checkpoint='/some/file.pth')

    def left(name):
        cfg = Config(dict(model=dict(
            backbone=dict(init_cfg=PUBLISHED), init_cfg=PUBLISHED,
            detector=dict(backbone=dict(init_cfg=local)),
            teacher=dict(backbone=dict(init_cfg=PUBLISHED)))))
        drop_replaced_downloads(cfg, tmp_path / name)
        return cfg.model

    assert left('head.pth').backbone.init_cfg == PUBLISHED
    model = left('whole.pth')
    assert model.backbone.init_cfg is None
    assert model.teacher.backbone.init_cfg == model.init_cfg == PUBLISHED
    assert model.detector.backbone.init_cfg == local
