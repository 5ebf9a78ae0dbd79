"""Segmentors' heads as files: any size, batches, windows, what is refused."""
import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from helpers import config_of, randomize  # noqa: E402
from mmfastvit import VARIANTS, ArgumentError, reparameterize  # noqa: E402
from mmfastvit.export.formats import FORMATS  # noqa: E402
from mmfastvit.export.metadata import describe  # noqa: E402
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit.export.substitutions import AdaptivePool, substitute  # noqa: E402
from mmfastvit.export.verification import verify  # noqa: E402
from mmfastvit_runtime import ExportedModel, PredictionError, windows  # noqa: E402

pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
SLOW = pytest.mark.slow
WIDTHS = [8, 16, 32, 64]
ARCH = dict(VARIANTS['t8'].__dict__, depths=(1, 1, 1, 1), embed_dims=tuple(WIDTHS))
CLASSES = 5
# The last maps, of stride 32, have 3x4, 5x2 and 1x7 pixels.
SIZES = (96, 128), (150, 50), (20, 200)


def head(kind, **fields):
    return dict(type=kind, channels=12, num_classes=CLASSES, norm_cfg=dict(type='BN'),
                **fields)


ALL_MAPS = dict(in_channels=WIDTHS, in_index=[0, 1, 2, 3])
LAST_MAP = dict(in_channels=WIDTHS[3], in_index=3)
HEADS = {
    'upernet': head('UPerHead', **ALL_MAPS),
    'segformer': head('SegformerHead', **ALL_MAPS),
    'deeplabv3plus': head('DepthwiseSeparableASPPHead', dilations=(1, 2, 3),
                          c1_in_channels=WIDTHS[0], c1_channels=6, **LAST_MAP),
    'deeplabv3': head('ASPPHead', dilations=(1, 2, 3), **LAST_MAP),
    'pspnet': head('PSPHead', **LAST_MAP),
    'danet': head('DAHead', pam_channels=4, **LAST_MAP),
    'fcn': head('FCNHead', num_convs=1, **LAST_MAP),
    'ocrnet': [head('FCNHead', num_convs=1, **LAST_MAP),
               head('OCRHead', ocr_channels=8, **LAST_MAP)]}


def build(name, align_corners=False, test_cfg=None, preprocessor=None):
    """Return a segmentor, tiny, in deploy form, and a config for its metadata."""
    cfg = config_of('fpn_fastvit_sa12_shapes.py')
    heads = copy.deepcopy(HEADS[name])
    for one in heads if isinstance(heads, list) else [heads]:
        one['align_corners'] = align_corners
    extra = dict(type='CascadeEncoderDecoder', num_stages=len(heads)) if isinstance(
        heads, list) else dict(type='EncoderDecoder')
    init_default_scope('mmseg')
    from mmseg.registry import MODELS
    model = MODELS.build(ConfigDict(
        **extra, decode_head=heads, backbone=dict(type='FastViT', arch=ARCH),
        data_preprocessor=dict(cfg.model.data_preprocessor, **(preprocessor or {})),
        test_cfg=test_cfg or dict(mode='whole')))
    DefaultScope._instance_dict.clear()
    return cfg, reparameterize(randomize(model).eval())


def write(cfg, model, path, size=None, **options):
    """Write a file of a segmentor, recorded with another size than it is tried at."""
    kind = next(row for row in FORMATS.values() if row.suffix == path.suffix)
    task, module = exportable(model)
    metadata = describe(cfg, model, task, module, list('abcde'), [[0, 0, 0]] * CLASSES,
                        size, None)
    kind.write(module, torch.zeros(2, 3, *(size or (64, 64)), dtype=torch.uint8), path,
               metadata, **options)
    return ExportedModel(kind.open(path))


def pictures(sizes=SIZES):
    return [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]


def assert_equal_to_toolbox(model, exported, sizes=SIZES):
    """The first runs alone, each other one as the last of a batch of two."""
    rows = verify(model, exported, pictures(sizes))
    assert {row.size for row in rows} == set(sizes)
    assert len(rows) == 2 * len(sizes)
    assert all(row.passed and row.compared for row in rows), rows


@pytest.mark.parametrize('name, suffix, align_corners', [
    ('upernet', '.onnx', False), ('deeplabv3plus', '.onnx', True),
    *(pytest.param(name, suffix, align, marks=SLOW) for name in HEADS
      for suffix in ('.onnx', '.xml', '.pt2') for align in (False, True)
      if (name, suffix, align) not in [('upernet', '.onnx', False),
                                       ('deeplabv3plus', '.onnx', True)])])
def test_equals_the_toolbox(name, suffix, align_corners, tmp_path):
    cfg, model = build(name, align_corners)
    exported = write(cfg, model, tmp_path / f'model{suffix}')
    assert exported.metadata['align_corners'] == align_corners
    assert_equal_to_toolbox(model, exported)
