"""Finding data, and loading whole models, for all three toolboxes."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from conftest import ROOT
from mmfastvit import DataError
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.engine.runner import build_runner

COCO = dict(data_root='data/coco', ann_file='ann.json', data_prefix=dict(img='img/'))


def config(**dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a config, its data, and another current directory."""
    for folder in ('configs', 'data/coco/img', 'elsewhere'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'data/coco/ann.json').touch()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    return tmp_path


def test_paths_resolve_from_any_directory(project):
    (project / 'configs/a.py').write_text(
        f'train_dataloader = dict(dataset=dict(type="Repeat", dataset={COCO}))\n'
        'val_evaluator = dict(ann_file="data/coco/ann.json")\n'
        'other = dict(data_root="data/voc/")')
    cfg = load_config(project / 'configs/a.py')
    dataset = cfg.train_dataloader.dataset.dataset
    assert dataset.data_root == str(project / 'data/coco')
    assert dataset.ann_file == 'ann.json'
    assert cfg.val_evaluator.ann_file == str(project / 'data/coco/ann.json')
    assert cfg.other.data_root == 'data/voc/'  # exists nowhere: left alone
    check_data(cfg, 'train')


@pytest.mark.parametrize('dataset, key', [
    (COCO, 'train_dataloader.dataset.data_root'),
    (dict(type='RepeatDataset', dataset=COCO),
     'train_dataloader.dataset.dataset.data_root'),
    (dict(type='ConcatDataset', datasets=[COCO]),
     'train_dataloader.dataset.datasets.0.data_root'),
    (dict(data_root='data/imagenet', data_prefix='train', split='train'),
     'train_dataloader.dataset.data_root'),
    (dict(data_root='data/ade', data_prefix=dict(img_path='a', seg_map_path='b')),
     'train_dataloader.dataset.data_root'),
    (dict(ann_file=['a.json', 'b.json']), 'train_dataloader.dataset.ann_file'),
])
def test_missing_data_names_the_setting(dataset, key):
    with pytest.raises(DataError) as caught:
        check_data(config(**dataset), 'train')
    assert f'--cfg-options {key}=' in str(caught.value)
    assert 'MISSING' in str(caught.value)


def test_missing_evaluator_file():
    cfg = Config(dict(val_evaluator=dict(ann_file='data/x/ann.json')))
    with pytest.raises(DataError, match='val_evaluator.ann_file='):
        check_data(cfg, 'val')


@pytest.mark.parametrize('dataset', [
    dict(COCO, data_root='s3://bucket/coco'),
    dict(COCO, backend_args=dict(backend='petrel')),
    dict(type='CIFAR10', data_root='data/cifar10', data_prefix='x', download=True),
    dict(type='Custom'),
])
def test_data_that_is_not_looked_for(dataset):
    check_data(config(**dataset), 'train')


def test_one_process_on_a_cpu_needs_no_synchronised_norms(tmp_path):
    cfg = load_config(ROOT / 'configs' / 'rtmdet_fastvit_sa12_coco.py',
                      work_dir=tmp_path)
    assert 'SyncBN' in str(cfg.model)
    model = build_runner(cfg).model
    DefaultScope._instance_dict.clear()
    if not torch.cuda.is_available():
        assert not any(isinstance(m, torch.nn.SyncBatchNorm)
                       for m in model.modules())
