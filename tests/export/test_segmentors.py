"""Segmentors' heads as files: any size, batches, windows, what is refused."""
import copy

import numpy as np
import pytest
import torch
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
from mmfastvit_runtime import ExportedModel, Resized, windows  # noqa: E402

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
WIDTH = 32  # of Mask2Former's queries
ATTENTION = dict(embed_dims=WIDTH, num_heads=8, batch_first=True)
FFN = dict(embed_dims=WIDTH, feedforward_channels=64)
MASK2FORMER = dict(
    config_of('mask2former_fastvit_t8_ade20k.py').model.decode_head.to_dict(),
    in_channels=WIDTHS, feat_channels=WIDTH, out_channels=WIDTH, num_classes=CLASSES,
    num_queries=12, train_cfg=None, pixel_decoder=dict(
        type='mmdet.MSDeformAttnPixelDecoder', num_outs=3,
        norm_cfg=dict(type='GN', num_groups=8), act_cfg=dict(type='ReLU'),
        encoder=dict(num_layers=1, layer_cfg=dict(
            self_attn_cfg=dict(**ATTENTION, num_levels=3), ffn_cfg=FFN)),
        positional_encoding=dict(num_feats=WIDTH // 2, normalize=True)),
    positional_encoding=dict(num_feats=WIDTH // 2, normalize=True),
    transformer_decoder=dict(return_intermediate=True, num_layers=3, layer_cfg=dict(
        self_attn_cfg=ATTENTION, cross_attn_cfg=ATTENTION, ffn_cfg=FFN)))
HEADS = {
    'upernet': head('UPerHead', **ALL_MAPS),
    'segformer': head('SegformerHead', **ALL_MAPS),
    'deeplabv3plus': head('DepthwiseSeparableASPPHead', dilations=(1, 2, 3),
                          c1_in_channels=WIDTHS[0], c1_channels=6, **LAST_MAP),
    'deeplabv3': head('ASPPHead', dilations=(1, 2, 3), **LAST_MAP),
    'pspnet': head('PSPHead', **LAST_MAP),
    'danet': head('DAHead', pam_channels=4, **LAST_MAP),
    'encnet': head('EncHead', num_codes=3, in_channels=WIDTHS[1:], in_index=[1, 2, 3]),
    'fcn': head('FCNHead', num_convs=1, **LAST_MAP),
    'mask2former': MASK2FORMER,
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
    """The first runs alone, each other one in a batch of two, beside a plain one."""
    rows = verify(model, exported, pictures(sizes))
    assert {row.size for row in rows} == set(sizes)
    assert len(rows) == 2 * (2 * len(sizes) - 1)
    assert all(row.passed and row.compared for row in rows), rows


@pytest.fixture(scope='module')
def upernet(tmp_path_factory):
    """UPerNet, and its file by today's exporter, which takes half a minute."""
    cfg, model = build('upernet')
    path = tmp_path_factory.mktemp('upernet') / 'model.onnx'
    return model, write(cfg, model, path), path


def test_equals_the_toolbox(upernet):
    model, exported, _ = upernet
    assert exported.metadata['align_corners'] is False
    assert 'slide' not in exported.metadata
    assert_equal_to_toolbox(model, exported)


def test_openvino(upernet, tmp_path):
    pytest.importorskip('openvino')
    from mmfastvit.export.formats import openvino
    model, _, path = upernet
    openvino.convert(path, tmp_path / 'model.xml')
    exported = ExportedModel(FORMATS['openvino'].open(tmp_path / 'model.xml'))
    assert_equal_to_toolbox(model, exported)


@pytest.mark.parametrize('name, align_corners', [
    ('deeplabv3plus', True), ('upernet', False), ('mask2former', False),
    *(pytest.param(name, align, marks=SLOW) for name in HEADS
      for align in (False, True)
      if (name, align) not in [('deeplabv3plus', True), ('upernet', False),
                               ('mask2former', False)])])
def test_old_opsets(name, align_corners, tmp_path):
    cfg, model = build(name, align_corners)
    opset = 16 if name == 'mask2former' else 11
    exported = write(cfg, model, tmp_path / 'model.onnx', opset=opset)
    versions = {item.domain: item.version for item in
                onnx.load(tmp_path / 'model.onnx').opset_import}
    assert versions == {'': opset}
    assert exported.metadata['align_corners'] == align_corners
    assert_equal_to_toolbox(model, exported)


@SLOW
@pytest.mark.parametrize('name, suffix, align_corners', [
    *((name, suffix, False) for name in HEADS for suffix in ('.onnx', '.xml')),
    *((name, '.onnx', True) for name in HEADS), ('upernet', '.xml', True),
    ('deeplabv3plus', '.xml', True), ('upernet', '.pt2', False),
    ('ocrnet', '.pt2', True)])
def test_every_head(name, suffix, align_corners, tmp_path):
    cfg, model = build(name, align_corners)
    exported = write(cfg, model, tmp_path / f'model{suffix}')
    # PyTorch's own programs do not take less than they were recorded to have.
    assert_equal_to_toolbox(model, exported, SIZES[:2 if suffix == '.pt2' else 3])


@pytest.fixture(scope='module')
def sliding(tmp_path_factory):
    """A segmentor that looks through windows, and its file."""
    cfg, model = build('segformer', test_cfg=dict(
        mode='slide', crop_size=(96, 64), stride=(64, 40)))
    folder = tmp_path_factory.mktemp('slide')
    # Of an old opset, which takes a tenth of the time to write.
    return model, write(cfg, model, folder / 'model.onnx', opset=11)


@pytest.mark.parametrize('at_a_time', [1, 2**14, 2**20])
def test_windows(at_a_time, sliding, monkeypatch):
    """One; of less than one; of less one way; many, the last ones moved back."""
    monkeypatch.setattr(windows, 'AT_A_TIME', at_a_time)
    model, exported = sliding
    assert exported.metadata['slide'] == dict(crop_size=[96, 64], stride=[64, 40])
    batches, run = [], exported.engine.run
    monkeypatch.setattr(exported.engine, 'run', lambda batch: (
        batches.append(batch.shape), run(batch))[1])
    assert_equal_to_toolbox(model, exported, [
        (96, 64), (40, 50), (60, 200), (200, 30), (230, 170)])
    assert max(n * h * w for n, _, h, w in batches) <= max(at_a_time, 2 * 96 * 64)
    assert len(batches) == 5 or at_a_time < 2**20


def test_windows_of_resized_pictures(sliding):
    """Labels in pixels of the original: the mean logits, resized."""
    model, exported = sliding
    picture = np.random.RandomState(0).randint(0, 256, (100, 130, 3), np.uint8)
    one, = exported.predict_resized([Resized(picture, (100, 130), (75, 210))])
    found = one['labels']
    from mmseg.structures import SegDataSample
    sample = SegDataSample(metainfo=dict(ori_shape=(75, 210), img_shape=(100, 130)))
    with torch.no_grad():
        sample, = model.test_step(dict(data_samples=[sample], inputs=[
            torch.from_numpy(picture).permute(2, 0, 1)]))
    assert (found != sample.pred_sem_seg.data[0].numpy()).mean() < 1e-3


@SLOW
def test_windows_of_padded_pictures(tmp_path):
    """The toolbox pads first, and cuts then."""
    cfg, model = build(
        'segformer', test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48)),
        preprocessor=dict(test_cfg=dict(size_divisor=32), pad_val=7))
    exported = write(cfg, model, tmp_path / 'model.onnx')
    assert exported.metadata['pad_divisor'] == 32
    assert_equal_to_toolbox(model, exported, [(64, 64), (30, 70), (150, 133)])


def test_one_window_needs_no_cutting():
    cfg, model = build('segformer', test_cfg=dict(
        mode='slide', crop_size=(96, 64), stride=(64, 40)))
    _, module = exportable(model)
    assert 'slide' in module.describe(None)
    for size in ((96, 64), (40, 64)):
        assert 'slide' not in module.describe(size)
    with pytest.raises(ArgumentError, match='97x64 is cut into windows'):
        module.describe((97, 64))


@pytest.mark.parametrize('count', [None, 1, 2, 3, 6, 7])
@pytest.mark.parametrize('side', [1, 2, 3, 5, 6, 7, 12, 19])
def test_pooling_by_matrices(count, side):
    x = torch.randn(2, 3, side, 11, dtype=torch.float64)
    own = nn.AdaptiveAvgPool2d((count, 4))
    torch.testing.assert_close(AdaptivePool((count, 4))(x), own(x), rtol=0, atol=1e-14)


def test_pools_are_replaced():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1)),
                          nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((None, 2)))
    substitute(model)
    assert [type(layer) for layer in model] == (
        [nn.AdaptiveAvgPool2d] * 2 + [AdaptivePool] * 2)
    assert [layer.output_size for layer in model[2:]] == [(3, 3), (None, 2)]


class OwnHead(nn.Module):
    """A head that is not the toolbox's."""

    def predict(self, inputs, metas, test_cfg):
        return inputs[0]


def own_head(model):
    model.decode_head = OwnHead()


def own_resize(model):
    kind = type(model.decode_head)
    model.decode_head.__class__ = type('Mine', (kind, ), dict(
        predict_by_feat=lambda self, logits, metas: logits))


def own_labels(model):
    model.__class__ = type('Depth', (type(model), ), dict(
        postprocess_result=lambda self, logits, samples: samples))


def binary(model):
    model.out_channels = 1


@pytest.mark.parametrize('change, message', [
    (own_head, 'OwnHead cannot be exported: its predict is OwnHead.predict; known'),
    (own_resize, 'Mine cannot be exported: its predict_by_feat'),
    (own_labels, 'Depth cannot be exported: its postprocess_result'),
    (binary, 'of 1 output channel'),
    (dict(mode='slide', crop_size=(64, 64), stride=(65, 64)), 'stride 1 to crop_size'),
    (dict(mode='slide', crop_size=(64, 64), stride=(0, 64)), 'stride 1 to crop_size'),
    (dict(mode='slide', crop_size=(64, 64)), 'give mode=whole, or mode=slide'),
    (dict(mode='slide', crop_size=64, stride=32), 'height, width'),
    (dict(mode='other'), 'give mode=whole, or mode=slide')])
def test_refused(change, message):
    changes = isinstance(change, dict)
    _, model = build('segformer', test_cfg=change if changes else None)
    if not changes:
        change(model)
    with pytest.raises(ArgumentError, match=message):
        exportable(model)


def test_windows_that_padding_does_not_fit():
    _, model = build('segformer', preprocessor=dict(test_cfg=dict(size_divisor=32)),
                     test_cfg=dict(mode='slide', crop_size=(64, 80), stride=(32, 32)))
    with pytest.raises(ArgumentError, match='multiples of 32 .*windows'):
        exportable(model)
