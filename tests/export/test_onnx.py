"""ONNX files compute what PyTorch computes, at every size, of old opsets, too."""
import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from helpers import (  # noqa: E402
    EXPORTED_KINDS,
    build_model,
    randomize,
    relative_error,
    shapes_case,
)
from mmfastvit import (  # noqa: E402
    VARIANTS,
    reparameterize,
)
from mmfastvit.export import Options, export  # noqa: E402
from mmfastvit.export.detectors.boxes import extent_of  # noqa: E402
from mmfastvit.export.formats import onnx as onnx_format  # noqa: E402
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit_runtime import load  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
SLOW = pytest.mark.slow


@pytest.mark.parametrize('kind', EXPORTED_KINDS)
def test_equals_pytorch_at_two_sizes(kind, exported):
    _, _, out, report = exported(kind)
    assert len({row.size for row in report.rows}) == 2
    assert all(row.passed for row in report.rows), str(report)
    # New weights may find nothing in the smaller picture.
    assert any(row.compared for row in report.rows), str(report)
    stored = json.loads(Path(f'{out}.json').read_text())
    assert len(stored['rows']) == len(report.rows)


@pytest.mark.parametrize('kind', EXPORTED_KINDS)
def test_graph_is_re_parameterized(kind, exported):
    """No norm is left, and as many GELUs as a T8 has."""
    gelus = 3 + 3 + sum(VARIANTS['t8'].depths) + (kind == 'classifier')
    graph = onnx.load(exported(kind)[2]).graph
    counts = Counter(node.op_type for node in graph.node)
    assert counts['BatchNormalization'] == 0
    assert counts['Gelu'] == gelus and counts['Erf'] == 0
    assert all(not tensor.HasField('data_location') or tensor.data_location == 0
               for tensor in graph.initializer)


@pytest.mark.parametrize('shape', [(1, 1, 3), (1000, 3, 3), (3, 1000, 3)])
@pytest.mark.parametrize('kind', EXPORTED_KINDS)
def test_pictures_of_odd_shapes(kind, shape, exported):
    found = load(exported(kind)[2])(np.full(shape, 100, np.uint8))
    assert all(np.isfinite(array).all() for array in found.values())
    if kind == 'fpn':
        assert found['labels'].shape == shape[:2]


def test_static_size(shapes, tmp_path):
    cfg, checkpoint = shapes_case('fpn', shapes, tmp_path)
    export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'),
           Options(size=(64, 96)))
    DefaultScope._instance_dict.clear()
    model = load(tmp_path / 'model.onnx')
    sides = onnx.load(tmp_path / 'model.onnx').graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in sides.dim][2:] == [64, 96]
    found = model(np.zeros((50, 40, 3), np.uint8))
    assert found['labels'].shape == (50, 40)


def test_weights_beyond_the_file(exported, tmp_path, monkeypatch):
    """As PyTorch's exporter writes them from 1.5 GB on; both files move together."""
    from torch.onnx._internal.exporter import _onnx_program
    monkeypatch.setattr(_onnx_program, '_LARGE_MODEL_THRESHOLD', 2**20)
    cfg, checkpoint, plain, _ = exported('classifier')
    report = export(copy.deepcopy(cfg), str(checkpoint), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert {path.name for path in tmp_path.iterdir()} == {
        'model.onnx', 'model.onnx.data', 'model.onnx.json'}
    assert report.size > plain.stat().st_size
    picture = np.zeros((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(load(tmp_path / 'model.onnx')(picture)['scores'],
                                  load(plain)(picture)['scores'])


@pytest.mark.parametrize('kind, opset, size', [
    ('fpn', 11, (64, 96)), ('backbone', 13, (64, 96)), ('retinanet', 11, None),
    *(pytest.param(*row, marks=SLOW) for row in (
        ('maskrcnn', 16, None), ('fpn', 11, None),
        ('classifier', 11, (64, 96)), ('retinanet', 11, (64, 96)),
        ('classifier', 11, None), ('backbone', 11, None), ('maskrcnn', 17, None),
        ('classifier', 18, None), ('maskrcnn', 18, (64, 96)), ('fpn', 18, None)))])
def test_opsets(kind, opset, size, shapes, tmp_path):
    """Old ones of one size are for boards, the operators listed."""
    cfg, checkpoint = shapes_case('classifier' if kind == 'backbone' else kind,
                                  shapes, tmp_path)
    out = tmp_path / 'model.onnx'
    report = export(cfg, str(checkpoint), str(out), Options(
        opset=opset, size=size, backbone_only=kind == 'backbone'))
    DefaultScope._instance_dict.clear()
    assert any(row.compared for row in report.rows)
    assert len({row.size for row in report.rows}) == (2 if size is None else 1)
    model = onnx.load(out)
    versions = {item.domain: item.version for item in model.opset_import}
    assert versions[''] == opset
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts['BatchNormalization'] == 0
    if opset < 18:
        assert {node.domain for node in model.graph.node} == {''}
        assert len(versions) == 1
    if opset < 18 and size:
        assert report.operators == counts
        shape = model.graph.input[0].type.tensor_type.shape
        assert [side.dim_value for side in shape.dim] == [1, 3, 64, 96]
    if opset < 18 and size and kind != 'retinanet':  # what it finds varies
        assert not set(counts) & {'LayerNormalization', 'Gelu', 'Shape', 'Constant'}


def test_the_longer_side_is_not_decided_at_export():
    """PyTorch's older exporter follows what a trace records."""
    traced = torch.jit.trace(lambda image: torch.as_tensor(
        extent_of(image, image.shape[2:], True)), torch.zeros(1, 3, 4, 8))
    for size, longer in (((4, 8), 8), ((9, 4), 9), ((5, 7), 7)):
        assert traced(torch.zeros(1, 3, *size)) == longer + 1


def test_attention_of_old_opsets(tmp_path):
    """In parts, at every size; a T8, as in most tests, has none."""
    _, model = build_model('fastvit_sa12_shapes.py')
    DefaultScope._instance_dict.clear()
    task, module = exportable(reparameterize(randomize(model.eval())), True)
    path = tmp_path / 'model.onnx'
    onnx_format.write(module, torch.zeros(2, 3, 64, 64, dtype=torch.uint8), path,
                      dict(task=task, size=None, batch=None), opset=11)
    counts = onnx_format.operators(path)
    assert counts['Softmax'] == 2 and not counts['LayerNormalization']
    pictures = torch.randint(0, 256, (3, 3, 96, 160), dtype=torch.uint8)
    with torch.no_grad():
        expected, = module(pictures)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    found, = session.run(None, {'image': pictures.numpy()})
    assert relative_error(torch.from_numpy(found), expected) < 1e-5
