"""Detectors of every family of heads: any size, batches, no objects, refusals."""
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_detectors import CASES, Graph, tiny_detector  # noqa: E402

from mmfastvit import ArgumentError  # noqa: E402
from mmfastvit.export.detectors import FAMILIES  # noqa: E402
from mmfastvit.export.formats import FORMATS  # noqa: E402
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit.export.verification import verify  # noqa: E402
from mmfastvit_runtime import PredictionError  # noqa: E402
from mmfastvit_runtime.model import ExportedModel  # noqa: E402

pytestmark = pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')
# Sides of which no two maps are alike.
SIZES = (128, 160), (192, 96)
# OpenVINO has no deformable convolution.
ONNX_ALONE = 'vfnet', 'tood'
# PyTorch's older exporter takes seconds where the newer takes minutes.
BY_DEFAULT = {'.onnx': ('rtmdet', ), '.xml': (), 'old operators': (
    'rtmdetins', 'gfl', 'yolox', 'cascademaskrcnn', 'twostagedetr', 'dino',
    'mask2former')}


def case(name, test_cfg=None, paste=False):
    """Return a detector, what becomes its graph, and what a file says of itself."""
    _, model = tiny_detector(name, test_cfg)
    DefaultScope._instance_dict.clear()
    _, module = exportable(model, paste=paste)
    return model, module, dict(
        task='detection', outputs=module.outputs, classes=list('abcde'),
        palette=[[0, 0, 0]] * 5, size=None, batch=module.batch, resize=[],
        **module.settings)


def pictures(sizes=SIZES):
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]


@pytest.mark.parametrize('name', CASES)
def test_the_graph_equals_the_toolbox(name):
    """One picture, and two of another size."""
    model, module, metadata = case(name)
    rows = verify(model, ExportedModel(Graph(module, metadata)), pictures())
    assert all(row.passed for row in rows), rows
    assert {row.size for row in rows} == set(SIZES)
    assert all(row.compared >= 5 for row in rows), rows
    assert {row.quantity for row in rows} == {'boxes', 'scores'} | (
        {'masks'} if 'masks' in module.outputs else set())


def written(name, kind, folder, opset=None):
    """Return a detector, and a file of it."""
    for package in kind.packages:
        pytest.importorskip(package)
    model, module, metadata = case(name)
    path = folder / f'model{kind.suffix}'
    example = torch.zeros(module.batch or 3, 3, *module.general_size, dtype=torch.uint8)
    kind.write(module, example, path, metadata, **({'opset': opset} if opset else {}))
    return model, ExportedModel(kind.open(path))


def cases(kind, names=tuple(CASES)):
    return [pytest.param(name, marks=() if name in BY_DEFAULT[kind]
                         else pytest.mark.slow) for name in names]


def assert_equals_the_toolbox(model, exported):
    """At two sizes; and five pictures at a time, of which each is as alone."""
    rows = verify(model, exported, pictures())
    assert all(row.passed and row.compared >= 5 for row in rows), rows
    if exported.metadata['batch']:
        return
    batch = torch.stack(pictures([SIZES[0]] * 5)).numpy()
    together = exported.split(exported.run(batch), 5)
    for i, found in enumerate(together):
        alone, = exported.split(exported.run(batch[i:i + 1]), 1)
        assert len(found['boxes']) == len(alone['boxes']) > 0
        for key in found:
            np.testing.assert_allclose(found[key], alone[key], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize('name', cases('.onnx'))
def test_onnx(name, tmp_path):
    assert_equals_the_toolbox(*written(name, FORMATS['onnx'], tmp_path))


@pytest.mark.parametrize('name', cases('.xml', [
    name for name in CASES if name not in ONNX_ALONE]))
def test_openvino(name, tmp_path):
    assert_equals_the_toolbox(*written(name, FORMATS['openvino'], tmp_path))


@pytest.mark.parametrize('name', cases('old operators', [
    name for name in CASES if name not in ONNX_ALONE]))
def test_old_operators(name, tmp_path):
    _, module, _ = case(name)
    assert_equals_the_toolbox(*written(name, FORMATS['onnx'], tmp_path,
                                       module.lowest_opset))


NOTHING = {'maskrcnn': dict(rcnn=dict(score_thr=2.)),
           **dict.fromkeys(('rtmdet', 'rtmdetins', 'yolox'), dict(score_thr=2.))}


@pytest.mark.parametrize('name', NOTHING)
def test_no_objects(name):
    """In one picture, in each of several, and in one of several."""
    model, module, metadata = case(name, NOTHING[name])
    exported = ExportedModel(Graph(module, metadata))
    for row in verify(model, exported, pictures()):
        assert row.passed and not row.compared
    found = exported(np.zeros((64, 64, 3), np.uint8))
    assert found['boxes'].shape == (0, 4) and found['labels'].shape == (0, )
    if 'masks' in module.outputs:
        assert found['masks'].shape == (0, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['maskrcnn', 'rtmdetins'])
def test_a_file_that_finds_nothing(name, tmp_path):
    model, module, metadata = case(name, NOTHING[name])
    path = tmp_path / 'model.onnx'
    FORMATS['onnx'].write(module, torch.zeros(
        3, 3, *module.general_size, dtype=torch.uint8), path, metadata)
    exported = ExportedModel(FORMATS['onnx'].open(path))
    for row in verify(model, exported, pictures()):
        assert row.passed and not row.compared


@pytest.mark.parametrize('name', ['maskrcnn', 'rtmdetins', 'mask2former'])
def test_pasted_masks(name):
    model, module, metadata = case(name, paste=True)
    exported = ExportedModel(Graph(module, metadata))
    rows = verify(model, exported, pictures())
    assert all(row.passed and row.compared for row in rows), rows
    found = exported.run(torch.stack(pictures([SIZES[0]] * 2)).numpy())
    assert found['masks'].dtype == np.uint8
    assert found['masks'].shape[2:] == SIZES[0]


def test_class_agnostic_suppression():
    nms = dict(type='nms', iou_threshold=0.5)
    for changes in (dict(nms={**nms, 'class_agnostic': True}), dict(nms=nms)):
        model, module, metadata = case('fcos', changes)
        rows = verify(model, ExportedModel(Graph(module, metadata)), pictures())
        assert all(row.passed and row.compared for row in rows), rows


def test_a_picture_with_too_few_places_is_refused():
    """Two stages of queries take as many places as there are queries."""
    _, module, metadata = case('dino')
    assert metadata['positions'] == dict(least=30, strides=[8, 16, 32, 64])
    exported = ExportedModel(Graph(module, metadata))
    with pytest.raises(PredictionError, match='22 places; this model needs 30'):
        exported(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(PredictionError, match='no pictures'):
        exported.run(np.zeros((0, 3, 64, 64), np.uint8))


def soft_nms(model):
    model.test_cfg.nms = dict(type='soft_nms', iou_threshold=0.5)


def other_head(model):
    class PAALike(type(model.bbox_head)):
        def predict_by_feat(self, *args, **kwargs):
            raise NotImplementedError
    model.bbox_head.__class__ = PAALike


def unknown_head(model):
    model.bbox_head = torch.nn.Identity()


def other_coder(model):
    model.bbox_head.bbox_coder = object()


def margin(model):
    model.data_preprocessor.pad_size_divisor = 32


def panoptic(model):
    model.test_cfg.panoptic_on = True


@pytest.mark.parametrize('name, change, message', [
    ('fcos', soft_nms, 'soft_nms'), ('atss', other_head, 'predict_by_feat is not'),
    ('rtmdet', unknown_head, 'known heads are .*RTMDetHead'),
    ('fcos', other_coder, 'only DeltaXYWHBBoxCoder and'),
    ('deformabledetr', margin, 'would look at the margin'),
    ('mask2former', panoptic, 'only instances can')])
def test_what_is_refused(name, change, message):
    _, model = tiny_detector(name)
    DefaultScope._instance_dict.clear()
    change(model)
    with pytest.raises(ArgumentError, match=message):
        exportable(model)


def test_each_head_has_one_row():
    heads = [head for rows, _ in FAMILIES for head in rows]
    assert len(heads) == len(set(heads)) >= 13
