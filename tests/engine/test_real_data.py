"""Real photographs through a whole run: data, augmentation, loss, metric."""
import json

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from conftest import ROOT, shared
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import train

SIZE = (160, 128)
LOADER = dict(num_workers=0, persistent_workers=False)


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


def small(pipeline):
    """Return a pipeline for small pictures."""
    for step in pipeline:
        if step['type'] in ('Resize', 'RandomResize'):
            step['scale'] = SIZE
        if step['type'] == 'RandomCrop':
            step['crop_size'] = (96, 96)
    return pipeline


def run(cfg):
    """Train on a few pictures, evaluate, and return the logged values."""
    for split, count in (('train', 4), ('val', 2), ('test', 2)):
        loader = cfg[f'{split}_dataloader']
        loader.update(LOADER)
        loader.dataset.indices = count
        small(loader.dataset.pipeline)
    cfg.model.backbone.update(arch='t8', init_cfg=None)
    cfg.default_hooks.logger.interval = 1
    runner = train(cfg)
    scalars = runner.message_hub.log_scalars
    return {name: scalar.data[0] for name, scalar in scalars.items()}


def test_retinanet_on_coco(real_coco, tmp_path):
    cfg = load_config(ROOT / 'configs' / 'retinanet_fastvit_sa12_coco.py', {
        'train_cfg.max_epochs': 1,
        'model.neck.in_channels': [96, 192, 384],
        'model.test_cfg.score_thr': 0.,  # untrained: all scores are low
    }, work_dir=tmp_path)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = f'{real_coco}/'
        if split != 'train':
            cfg[f'{split}_evaluator'].ann_file = \
                f'{real_coco}/annotations/instances_val2017.json'
    values = run(cfg)
    assert len(values['train/loss']) == 2
    assert np.isfinite(values['train/loss']).all()
    assert 0 <= values['val/coco/bbox_mAP'][0] <= 1


def test_semantic_fpn_on_coco_with_133_classes(tmp_path):
    root = shared('data', 'coco_semantic')
    classes = [c['name'] for c in json.loads((root / 'classes.json').read_text())]
    cfg = load_config(ROOT / 'configs' / 'fpn_fastvit_sa12_ade20k.py', {
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'model.data_preprocessor.size': (96, 96),
        'model.neck.in_channels': [48, 96, 192, 384],
        'model.decode_head.num_classes': len(classes),
    }, work_dir=tmp_path)
    for split, folder in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        cfg[f'{split}_dataloader'].dataset.update(
            type='BaseSegDataset', data_root=str(root),
            data_prefix=dict(img_path=f'img_dir/{folder}',
                             seg_map_path=f'ann_dir/{folder}'),
            metainfo=dict(classes=classes, palette=[[i, i, i] for i in range(133)]))
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            step.pop('reduce_zero_label', None)  # ADE20K's; here 0 is a class
    values = run(cfg)
    assert len(values['train/loss']) == 2
    assert np.isfinite(values['train/loss']).all()
    assert 0 <= values['val/mIoU'][0] <= 100
