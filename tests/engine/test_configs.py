"""Every config builds, learns and predicts, each under its own scope."""
import copy
import re

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from torch.testing import assert_close

from conftest import ROOT
from helpers import FASTVIT, build_model, config_of, make_batch, randomize
from mmfastvit import reparameterize
from mmfastvit.export.detection_sets import DetectionSets, rounded_anew
from mmfastvit.export.verification import ROUNDINGS
from mmfastvit.models.arch import resolve
from mmfastvit.models.families import find_family
from mmfastvit.models.reparam import run_branches

CONFIGS = sorted(p.name for p in (ROOT / 'configs').glob('*.py'))
# Of what the papers do not have, the toolboxes' recipe with two variants.
HEADS = [*((head, 'coco') for head in (
    'atss', 'cascademaskrcnn', 'cascadercnn', 'deformabledetr', 'dino', 'fcos', 'gfl',
    'mask2former', 'rtmdet', 'rtmdetins')),
    *((head, 'ade20k') for head in (
        'upernet', 'segformer', 'deeplabv3plus', 'mask2former'))]
FAMILIES = [
    *((f'{method}_{{}}_{data}.py', FASTVIT) for method, data in (
        ('maskrcnn_fastvit', 'coco'), ('retinanet_fastvit', 'coco'),
        ('fpn_fastvit', 'ade20k'), ('fastvit', 'in1k'))),
    ('handmesh_fastvit_{}_freihand.py', ['t8', 'ma36']),
    *((f'{head}_fastvit_{{}}_{data}.py', ['t8']) for head, data in HEADS)]
# What the other variants of a family share with SA12 needs no run of its own; of the
# heads, RTMDet and UPerNet stand for all.
# An image encoder alone is not trained; a step of FasterViT-5 or 6 needs 10 GB.
RUN = [pytest.param(name, marks=() if re.search(
    '^(maskrcnn_|retinanet_|fpn_|handmesh_)?fastvit_(t8|sa12)_|(rtmdet|upernet)_fastvit_t8_[ac]|'
    'fpn.*mci0|fpn_fastervit_0|fastervit_shapes', name)
    else pytest.mark.slow) for name in CONFIGS
    if not re.search('_embedding|fastervit_[56]', name)]


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('name', CONFIGS)
def test_channels_agree_with_the_variant(name):
    cfg = config_of(name)
    backbone = cfg.model.backbone
    # Mask2Former's head has a neck of its own.
    neck = cfg.model.get('neck') or cfg.model.get('panoptic_head')
    family = find_family(backbone.type)
    widths = resolve(backbone.arch, family.weights_class.variants).embed_dims
    if neck is None:
        given = [widths[i] for i in backbone.get('out_indices', (0, 1, 2, 3))]
        heads = [cfg.model.decode_head, cfg.model.get('auxiliary_head')]
        for head in filter(None, heads):
            several = isinstance(head.in_channels, list)
            taken = head.in_channels if several else [head.in_channels]
            places = head.get('in_index', range(len(given)))
            places = places if several else [places]
            assert taken == [given[i] for i in places]
            assert head.get('c1_in_channels', given[0]) == given[0]
    elif neck.type == 'GlobalAveragePooling':
        assert (backbone.out_indices, cfg.model.head.in_channels) == ((3, ), widths[3])
    elif neck.type == 'FastViTNeck':
        assert neck.in_channels == widths[-1]
        assert backbone.out_indices[-1] == len(widths) - 1
        assert cfg.model.head is None or (
            cfg.model.head.in_channels == 2 * widths[-1])
    else:
        chosen = backbone.get('out_indices', (0, 1, 2, 3))
        assert list(neck.in_channels) == [widths[i] for i in chosen]
        for head in map(cfg.model.get, ('bbox_head', 'rpn_head', 'panoptic_head')):
            strides = head and head.get('anchor_generator', head).get('strides')
            if strides:
                assert strides[:len(chosen)] == [4 * 2**i for i in chosen]
    assert cfg.custom_imports.imports[0].startswith('mmfastvit')


@pytest.mark.parametrize('family, archs', FAMILIES)
def test_a_family_is_complete_and_differs_by_its_variant(family, archs):
    """Nothing but what depends on the variant tells its configs apart."""
    def without_variant(arch):
        cfg = config_of(family.format(arch)).to_dict()
        model = cfg['model']
        assert model['backbone'].pop('arch') == arch
        for part in ('neck', ) if 'neck' in model else (
                'panoptic_head', 'decode_head', 'auxiliary_head'):
            for key in ('in_channels', 'c1_in_channels'):
                model.get(part, {}).pop(key, None)
        if 'head' in model:
            for key in ('in_channels', 'lateral_channels'):
                model['head'].pop(key, None)
            model['backbone'].pop('drop_path_rate')
            for key in ('val_dataloader', 'test_dataloader', 'test_pipeline'):
                cfg.pop(key)
        cfg.pop('work_dir')
        return cfg
    expected = without_variant('sa12')
    for arch in archs:
        assert without_variant(arch) == expected, arch


def test_the_paper_s_recipe():
    """Drop path of each variant, and the sizes before the central crop."""
    expected = dict(t8=(0., 284), t12=(0., 284), s12=(0., 284), sa12=(0.1, 284),
                    sa24=(0.1, 284), sa36=(0.2, 269), ma36=(0.35, 269))
    for arch, (rate, size) in expected.items():
        cfg = config_of(f'fastvit_{arch}_in1k.py')
        assert cfg.model.backbone.drop_path_rate == rate
        pipeline = cfg.test_dataloader.dataset.pipeline
        assert (pipeline[1].scale, pipeline[2].crop_size) == (size, 256)


@pytest.mark.parametrize('name', CONFIGS)
def test_everything_but_the_model_builds(name):
    from mmengine import registry
    cfg = config_of(name)
    init_default_scope(cfg.default_scope)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        Compose(dataset.pipeline)
        with registry.DATASETS.switch_scope_and_registry(None) as datasets:
            assert datasets.get(dataset.type) is not None
    registry.VISUALIZERS.build({**cfg.visualizer, 'vis_backends': None,
                                'name': name})
    for hook in cfg.get('custom_hooks', []):
        registry.HOOKS.build(hook)


@pytest.mark.parametrize('name', RUN)
def test_one_training_step(name):
    cfg, model = build_model(name)
    model.train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    own = cfg.optim_wrapper.paramwise_cfg.get('custom_keys', {})
    decayed = {id(p): group['weight_decay'] > 0
               for group in optim_wrapper.param_groups for p in group['params']}
    data = model.data_preprocessor(make_batch(cfg), True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        # No decay on norms, biases and layer scales; custom_keys replace that rule.
        named = [own[part] for part in sorted(own, key=len) if part in key]
        assert decayed[id(parameter)] == (
            named[-1].get('decay_mult', 1) > 0 if named else parameter.ndim != 1), key


@pytest.mark.parametrize('name', RUN)
def test_deploy_form_predicts_the_same(name):
    cfg, model = build_model(name)
    test_cfg = model.test_cfg if cfg.default_scope == 'mmdet' else {}
    test_cfg.get('rcnn', test_cfg)['score_thr'] = 0.
    randomize(model.eval().backbone)
    if 'retinanet' in name:  # new weights saturate: many scores are 1
        model.bbox_head.retina_cls.weight.data.mul_(0.1)
    if name.startswith('rtmdet_'):  # new weights find the left side right of the right
        for layer in model.bbox_head.rtm_reg:
            layer.bias.data.fill_(2.)
    batch = make_batch(cfg)
    deployed = reparameterize(model)
    with torch.no_grad(), run_branches(model):
        expected = model.test_step(copy.deepcopy(batch))
    actual = deployed.test_step(batch)
    assert len(actual) == len(expected) == 2
    for i, (one, other) in enumerate(zip(expected, actual)):
        if cfg.default_scope == 'mmpretrain':
            assert_close(other.pred_score, one.pred_score, rtol=1e-4, atol=1e-6)
        elif cfg.default_scope == 'mmseg':
            assert_close(other.seg_logits.data, one.seg_logits.data,
                         rtol=1e-4, atol=1e-4)
        elif cfg.default_scope == 'mmengine':
            assert_close(other.pred_uv, one.pred_uv, rtol=1e-4, atol=1e-2)
            assert_close(other.pred_vertices, one.pred_vertices, rtol=1e-4, atol=1e-5)
        else:
            assert_detections_close(model, batch, i, other, one)


def assert_detections_close(model, batch, i, actual, expected):
    """Compare as sets: roundings decide which of two equal boxes is suppressed."""
    def arrays(sample):
        found = sample.pred_instances.numpy()
        # Several queries may find one box: their scores tell them apart.
        boxes = np.column_stack((found.bboxes, found.scores))
        return {'boxes': boxes, **{name: found[name] for name in (
            'scores', 'labels', 'masks') if name in found}}

    assert len(actual.pred_instances) == len(expected.pred_instances) > 0
    pixels, limit = 0.01, expected.pred_instances.scores.min().item() + 1e-4
    sets = DetectionSets(arrays(actual), arrays(expected), limit, pixels)
    with torch.no_grad(), rounded_anew(model):
        for _ in range(ROUNDINGS):
            if sets.compared()['boxes'][1] < pixels:
                break
            sets.consider(arrays(model.test_step(copy.deepcopy(batch))[i]))
    compared = sets.compared()
    assert compared['boxes'][0] > 0
    found = {name: difference for name, (_, difference) in compared.items()}
    assert found['boxes'] < pixels and found['scores'] < 1e-4
    # Masks are cut at 0.5; rounding may tip a pixel that lies on it.
    assert found.get('masks', 0.) < 1e-3


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
    cfg, model = build_model(tmp_path / 'mine.py')
    with torch.no_grad():
        assert len(model.eval().test_step(make_batch(cfg))) == 2
