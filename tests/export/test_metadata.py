"""What a file says about itself: classes, and how pictures are resized."""
import json

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from helpers import EXPORTED_KINDS  # noqa: E402
from mmfastvit import ArgumentError  # noqa: E402
from mmfastvit.export.metadata import resize_steps  # noqa: E402
from mmfastvit_runtime import load  # noqa: E402
from mmfastvit_runtime.resizing import STEPS  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]


@pytest.mark.parametrize('kind', EXPORTED_KINDS)
def test_metadata(kind, exported):
    cfg, _, out, report = exported(kind)
    metadata = load(out).metadata
    assert metadata == json.loads(json.dumps(report.metadata))
    if kind != 'backbone':
        assert {'circle', 'square', 'triangle'} <= set(metadata['classes'])
        assert len(metadata['palette']) == len(metadata['classes'])
    assert metadata['embed_dims'] == [48, 96, 192, 384]


TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}
PIPELINES = {
    'mmdet': [dict(type='Resize', scale=(133, 80), keep_ratio=True)],
    'mmseg': [dict(type='Resize', scale=(204, 51), keep_ratio=True),
              dict(type='ResizeToMultiple', size_divisor=32)],
    'mmpretrain': [dict(type='ResizeEdge', scale=71, edge='short', backend='pillow',
                        interpolation='bicubic'),
                   dict(type='CenterCrop', crop_size=64)],
    'mmpretrain, OpenCV': [dict(type='ResizeEdge', scale=71, interpolation='bicubic')],
    'mmpretrain, square': [dict(type='Resize', scale=48)],
    'mmdet, RTMDet': [dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(
        type='Pad', size=(64, 64), pad_val=dict(img=(114, 113, 112)))],
    'mmdet, YOLOX': [dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(
        type='Pad', pad_to_square=True, pad_val=dict(img=(114., 114., 114.)))],
    'mmdet, multiple': [dict(type='Pad', size_divisor=32)],
    'mmdet, Mask2Former': [dict(type='LoadImageFromFile', to_float32=True),
                           dict(type='Resize', scale=(133, 80), keep_ratio=True)]}


@pytest.mark.parametrize('name', PIPELINES)
def test_pictures_are_resized_as_the_pipelines_do(name):
    from mmengine.config import Config, ConfigDict
    from mmengine.registry import TRANSFORMS, init_default_scope

    pipeline = PIPELINES[name]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    init_default_scope(name.split(',')[0])
    transforms = [TRANSFORMS.build(ConfigDict(step)) for step in pipeline
                  if step['type'] != 'LoadImageFromFile']
    DefaultScope._instance_dict.clear()
    for size in ((75, 101), (333, 47), (64, 64), (500, 333)):
        picture = np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)
        loaded = picture.astype(np.float32) if 'Mask2Former' in name else picture
        results = dict(img=loaded, img_shape=size, ori_shape=size)
        for transform in transforms:
            results = transform(results)
        resized = picture
        for step in resize_steps(cfg, TASKS[name.split(',')[0]]):
            resized = STEPS[step.pop('type')](resized, **step)
        assert resized.dtype == results['img'].dtype
        np.testing.assert_array_equal(resized, results['img'])


@pytest.mark.parametrize('step', [
    dict(type='Pad', size_divisor=32), dict(type='Resize', scale_factor=2.),
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadImageFromFile', imdecode_backend='pillow')])
def test_other_pipelines_are_refused(step):
    from mmengine.config import Config

    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[step]))))
    with pytest.raises(ArgumentError, match='cannot be exported'):
        resize_steps(cfg)
