"""A deploy checkpoint is compared with independent branches, and refused."""
import pytest
import torch
from mmengine.registry import init_default_scope

from conftest import ROOT
from helpers import randomize
from mmfastvit import CheckpointError, deploy, reparameterize
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes
from mmfastvit.layers import RepMixer
from mmfastvit.runner import load_config


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A config with data, and a checkpoint of its model."""
    folder = tmp_path_factory.mktemp('deploy')
    root = generate_shapes(folder / 'shapes', ShapesSpec(1, 1, 64))
    cfg = load_config(
        ROOT / 'configs' / 'maskrcnn_fastvit_sa12_shapes.py', {
            'test_dataloader.dataset.data_root': f'{root}/',
            'test_evaluator.ann_file': f'{root}/annotations/instances_val.json',
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'model.backbone.arch': 't8',
            'model.neck.in_channels': [48, 96, 192, 384],
        }, work_dir=folder / 'work')
    init_default_scope('mmdet')
    from mmdet.registry import MODELS
    model = MODELS.build(cfg.model)
    randomize(model.backbone)
    torch.save(model.state_dict(), folder / 'model.pth')
    return cfg, folder


def test_writes_what_agrees(case):
    cfg, folder = case
    comparison = deploy.reparameterize_checkpoint(
        cfg, folder / 'model.pth', folder / 'deploy.pth')
    assert comparison.pictures == 1
    assert 0 < comparison.features < deploy.TOLERANCE
    assert {'bboxes', 'scores', 'labels', 'masks'} == set(comparison.predictions)
    assert (folder / 'deploy.pth').exists()


def test_refuses_a_wrong_fold(case, monkeypatch):
    cfg, folder = case
    right = RepMixer.equivalent
    monkeypatch.setattr(RepMixer, 'equivalent', lambda self: tuple(
        1.01 * t for t in right(self)))
    with pytest.raises(CheckpointError, match='was not written'):
        deploy.reparameterize_checkpoint(
            cfg, folder / 'model.pth', folder / 'wrong.pth')
    assert not (folder / 'wrong.pth').exists()


def test_a_nan_never_agrees(case):
    cfg, folder = case
    weights = torch.load(folder / 'model.pth', weights_only=True)
    weights['backbone.stem.0.convs.0.conv.weight'][0] = float('nan')
    torch.save(weights, folder / 'nan.pth')
    with pytest.raises(CheckpointError, match='was not written'):
        deploy.reparameterize_checkpoint(
            cfg, folder / 'nan.pth', folder / 'wrong.pth')
    assert not [p.name for p in folder.iterdir() if 'wrong' in p.name]


def test_only_one_form_of_a_checkpoint_fits(case):
    from mmfastvit.runner import load_weights
    cfg, folder = case
    from mmdet.registry import MODELS
    model = MODELS.build(cfg.model)
    with pytest.raises(CheckpointError, match='set model.backbone.deploy=False'):
        load_weights(reparameterize(model), folder / 'model.pth')
