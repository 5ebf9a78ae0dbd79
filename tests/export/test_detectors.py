"""Detectors as a whole: masks, no objects, and what is refused."""
import copy

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from helpers import (  # noqa: E402
    build_model,
    shapes_case,
)
from mmfastvit import ArgumentError  # noqa: E402
from mmfastvit.export import Options, export  # noqa: E402
from mmfastvit.export.detectors.masks import paste_masks  # noqa: E402
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit_runtime import load, read_picture  # noqa: E402
from mmfastvit_runtime.masks import paste  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]


@pytest.mark.slow
def test_no_detections_in_a_file(exported, tmp_path):
    """Everything is background once the file's own bias says so."""
    model = onnx.load(exported('maskrcnn')[2])
    bias, = [array for array in model.graph.initializer
             if array.name.endswith('fc_cls.bias')]
    bias.CopyFrom(onnx.numpy_helper.from_array(
        np.array([0, 0, 0, 1e4], np.float32), bias.name))
    onnx.save(model, tmp_path / 'model.onnx')
    assert_finds_nothing(tmp_path / 'model.onnx')


def assert_finds_nothing(path, with_masks=True):
    for size in ((1, 1), (97, 33), (200, 200)):
        found = load(path)(np.zeros((*size, 3), np.uint8))
        assert found['boxes'].shape == (0, 4) and found['scores'].shape == (0, )
        if with_masks:
            assert found['masks'].shape == (0, *size)


@pytest.mark.slow
@pytest.mark.parametrize('kind, paste', [
    ('maskrcnn', False), ('maskrcnn', True), ('retinanet', False)])
def test_no_detections(kind, paste, shapes, tmp_path):
    cfg, checkpoint = shapes_case(kind, shapes, tmp_path)
    weights = torch.load(checkpoint, weights_only=True)
    for name in weights:
        if name.endswith('fc_cls.bias'):
            weights[name][-1] = 1e4  # everything is background
        elif name.endswith('retina_cls.bias'):
            weights[name] -= 1e4
    torch.save(weights, checkpoint)
    out = tmp_path / 'model.onnx'
    report = export(cfg, str(checkpoint), str(out), Options(paste=paste))
    DefaultScope._instance_dict.clear()
    assert {row.compared for row in report.rows} == {0}
    assert 'was NOT compared' in str(report)
    assert_finds_nothing(out, kind == 'maskrcnn')


def test_paste_equals_mmdet_s():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    random = np.random.RandomState(0)
    masks = random.rand(6, 28, 28).astype(np.float32)
    boxes = np.array([[3.2, 4.1, 30.7, 20.2], [-5, -3, 10, 60], [0, 0, 50, 40],
                      [7, 7, 7, 9], [7.5, 7, 7.5, 9], [48.5, 2, 49.5, 39]], np.float32)
    in_graph = paste_masks(torch.from_numpy(masks), torch.from_numpy(boxes), 40, 50)
    for mask, box, of_graph in zip(masks, boxes, in_graph):
        part, place = _do_paste_mask(torch.from_numpy(mask)[None, None],
                                     torch.from_numpy(box)[None], 40, 50)
        expected = np.zeros((40, 50), np.float32)
        expected[place] = part[0]
        found = np.zeros((40, 50), np.float32)
        values, where = paste(mask, box, (40, 50))
        found[where] = values
        expected = np.nan_to_num(expected)  # which is below every threshold
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(of_graph, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['.onnx', '.xml', '.pt2'])
def test_masks_pasted_in_the_graph(suffix, exported, shapes, tmp_path):
    """Equal PyTorch's, and follow the picture when it was resized."""
    cfg, checkpoint, _, _ = exported('maskrcnn')
    out = tmp_path / f'model{suffix}'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(paste=True))
    DefaultScope._instance_dict.clear()
    assert any(row.compared for row in report.rows if row.quantity == 'masks')
    if suffix == '.pt2':  # read by PyTorch alone
        return
    model = load(out)
    batch = model.prepare(read_picture(sorted((shapes / 'val').glob('*.png'))[0]))
    found, = model.split(model.run(batch), 1)
    assert found['masks'].shape[1:] == batch.shape[2:] == (128, 128)
    assert found['masks'].dtype == np.uint8 and set(np.unique(found['masks'])) == {0, 1}
    found['masks'] = np.zeros_like(found['masks'])
    found['masks'][:, 32:96, 16:64] = 1
    masks = model.restore(found, (128, 128), (64, 64))['masks']
    assert masks.shape == (len(found['boxes']), 64, 64) and masks.dtype == bool
    assert masks[:, 16:48, 8:32].all() and masks.sum() == masks[:, 16:48, 8:32].size
    with pytest.raises(ArgumentError, match='leave --paste out'):
        export(copy.deepcopy(cfg), str(checkpoint), str(out),
               Options(backbone_only=True, paste=True))
    DefaultScope._instance_dict.clear()


def test_what_detectors_cannot_leave_as(shapes, tmp_path):
    cfg, checkpoint = shapes_case('maskrcnn', shapes, tmp_path)
    for name, opset, message in (('model.onnx', 15, '16 to 20'),
                                 ('model.mlpackage', None, '--backbone-only')):
        with pytest.raises(ArgumentError, match=message):
            export(copy.deepcopy(cfg), str(checkpoint), str(tmp_path / name),
                   Options(opset=opset, size=(64, 64)))
        DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('name, changes, message', [
    ('retinanet_fastvit_sa12_coco.py', {'test_cfg.nms.type': 'soft_nms'},
     'soft_nms'),
    ('maskrcnn_fastvit_sa12_coco.py', {'test_cfg.rpn.max_per_img': -1},
     'max_per_img=-1'),
    ('retinanet_fastvit_sa12_coco.py', {'test_cfg.min_bbox_size': 2},
     'min_bbox_size'),
    ('fpn_fastvit_sa12_ade20k.py', {'test_cfg.mode': 'slide'}, 'whole')])
def test_what_would_compute_something_else_is_refused(name, changes, message):
    _, model = build_model(name)
    DefaultScope._instance_dict.clear()
    for key, value in changes.items():
        *path, last = key.split('.')
        node = model
        for part in path:
            node = getattr(node, part)
        if isinstance(node, dict):
            node[last] = value
        else:
            setattr(node, last, value)
    with pytest.raises(ArgumentError, match=message):
        exportable(model)
