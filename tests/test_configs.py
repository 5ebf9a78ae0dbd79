"""Every config builds, learns and predicts, each under its own scope."""
import copy
import re

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope
from torch.testing import assert_close

from conftest import ROOT
from helpers import randomize
from mmfastvit import VARIANTS, reparameterize
from mmfastvit.layers import run_branches
from mmfastvit.runner import load_config

CONFIGS = sorted(p.name for p in (ROOT / 'configs').glob('*.py'))


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


def build_model(cfg):
    init_default_scope(cfg.default_scope)
    from mmengine.registry import MODELS
    if cfg.default_scope == 'mmdet':
        from mmdet.registry import MODELS
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model)


def detection_batch(num_classes):
    from mmdet.testing import demo_mm_inputs
    return demo_mm_inputs(2, [(3, 96, 64), (3, 64, 96)], num_items=[2, 1],
                          num_classes=num_classes, with_mask=True)


@pytest.mark.parametrize('name', CONFIGS)
def test_channels_agree_with_the_variant(name):
    cfg = load_config(ROOT / 'configs' / name)
    assert tuple(cfg.model.neck.in_channels) \
        == VARIANTS[cfg.model.backbone.arch].embed_dims
    assert cfg.custom_imports.imports == ['mmfastvit']


@pytest.mark.parametrize('name', CONFIGS)
def test_one_training_step(name):
    cfg = load_config(ROOT / 'configs' / name)
    model = build_model(cfg).train()
    data = model.data_preprocessor(
        detection_batch(cfg.model.roi_head.bbox_head.num_classes), True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    without = [n for n, p in model.named_parameters()
               if p.requires_grad and p.grad is None]
    assert not without


@pytest.mark.parametrize('name', CONFIGS)
def test_deploy_form_predicts_the_same(name):
    cfg = load_config(ROOT / 'configs' / name)
    cfg.model.test_cfg.rcnn.score_thr = 0.
    model = build_model(cfg).eval()
    randomize(model.backbone)
    batch = detection_batch(cfg.model.roi_head.bbox_head.num_classes)
    deployed = reparameterize(model)
    with torch.no_grad(), run_branches(model):
        for one, other in zip(model.test_step(copy.deepcopy(batch)),
                              deployed.test_step(copy.deepcopy(batch))):
            found = one.pred_instances
            assert len(found) > 0
            for key in ('bboxes', 'scores', 'labels'):
                assert_close(other.pred_instances[key], found[key],
                             rtol=1e-4, atol=1e-4)
            # Masks are cut at 0.5; rounding may tip a pixel that lies on it.
            tipped = (other.pred_instances.masks != found.masks).float().mean()
            assert tipped < 1e-4



def test_no_decay_on_norms_biases_and_layer_scales():
    cfg = load_config(ROOT / 'configs' / 'maskrcnn_fastvit_sa12_coco.py')
    model = build_model(cfg)
    from mmengine.optim import build_optim_wrapper
    groups = build_optim_wrapper(model, cfg.optim_wrapper).param_groups
    decayed = {id(p): g['weight_decay'] for g in groups for p in g['params']}
    for name, parameter in model.named_parameters():
        expected = 1e-4 if parameter.ndim > 1 else 0.
        assert decayed[id(parameter)] == expected, name


def test_mmseg_scope():
    init_default_scope('mmseg')
    from mmseg.registry import MODELS
    model = MODELS.build(dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(type='FastViT', arch='t8'),
        neck=dict(type='FPN', in_channels=[48, 96, 192, 384],
                  out_channels=32, num_outs=4),
        decode_head=dict(type='FPNHead', in_channels=[32] * 4,
                         in_index=[0, 1, 2, 3], channels=16, num_classes=5,
                         feature_strides=[4, 8, 16, 32]),
        test_cfg=dict(mode='whole')))
    out = model.eval()(torch.rand(1, 3, 64, 96), mode='tensor')
    assert out.shape == (1, 5, 16, 24)


def test_mmpretrain_scope():
    init_default_scope('mmpretrain')
    from mmpretrain.registry import MODELS
    model = MODELS.build(dict(
        type='ImageClassifier',
        backbone=dict(type='FastViT', arch='sa12', out_indices=(3,),
                      out_norm_cfg=None),
        neck=dict(type='FastViTNeck', in_channels=512),
        head=dict(type='LinearClsHead', in_channels=1024, num_classes=10)))
    x = torch.rand(2, 3, 64, 64)
    model.eval()
    with run_branches(model):
        out = model(x, mode='tensor')
    assert out.shape == (2, 10)
    assert_close(reparameterize(model)(x, mode='tensor'), out)


def test_the_readme_config(tmp_path):
    text = (ROOT / 'README.md').read_text()
    block = re.search(r'```python\n(_base_.*?)```', text, re.S)[1]
    assert len(block.splitlines()) == 8
    (tmp_path / 'mine.py').write_text(block)
    model = build_model(load_config(tmp_path / 'mine.py')).eval()
    batch = detection_batch(80)
    with torch.no_grad():
        assert len(model.test_step(batch)) == 2
