"""Fewer bits, judged by the metric of the test data."""
import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from mmfastvit import (  # noqa: E402
    ArgumentError,
    DataError,
)
from mmfastvit.apis.evaluate import evaluate  # noqa: E402
from mmfastvit.export import Options, Quantization, export, quantization  # noqa: E402
from mmfastvit.export.evaluation import METRICS  # noqa: E402
from mmfastvit.export.formats import FORMATS  # noqa: E402
from mmfastvit_runtime import load  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
SLOW = pytest.mark.slow


@pytest.mark.parametrize('kind, name, dtype', [
    ('classifier', 'model.onnx', 'int8'), ('classifier', 'model.onnx', 'float16'),
    pytest.param('classifier', 'model.xml', 'int8', marks=SLOW),
    ('classifier', 'model.ncnn.param', 'float16'),
    *(pytest.param('classifier', name, dtype, marks=SLOW) for name, dtype in (
        ('model.pte', 'int8'), ('model.tflite', 'int8'), ('model.tflite', 'float16'))),
    pytest.param('retinanet', 'model.tflite', 'int8', marks=SLOW),
    *(pytest.param(kind, name, dtype, marks=SLOW) for kind in ('maskrcnn', 'fpn')
      for name in ('model.onnx', 'model.xml') for dtype in ('int8', 'float16'))])
def test_fewer_bits(kind, name, dtype, exported, tmp_path):
    written = next(row for row in FORMATS.values() if name.endswith(row.suffix))
    for package in written.packages:
        pytest.importorskip(package)
    cfg, checkpoint, plain, _ = exported(kind)
    out = tmp_path / name
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
        size=(64, 96) if written.is_static else None,
        quantization=Quantization(dtype, max_drop=100.)))
    DefaultScope._instance_dict.clear()
    costs = report.costs
    assert costs.size < (0.33 if dtype == 'int8' else 0.6)
    assert costs.in_float32 == []
    found = evaluate(copy.deepcopy(cfg), str(out))
    DefaultScope._instance_dict.clear()
    for metric, (_, after) in costs.metrics.items():
        assert after == pytest.approx(
            found[metric] * METRICS[metric], nan_ok=True)
    assert json.loads(Path(f'{out}.json').read_text())['costs']['dtype'] == dtype
    if name.endswith('.onnx'):
        counts = Counter(node.op_type for node in onnx.load(out).graph.node)
        floats = Counter(node.op_type for node in onnx.load(plain).graph.node)
        assert counts['Conv'] == floats['Conv']
        assert (counts['QuantizeLinear'] > 0) == (dtype == 'int8')
        # Weights have scales of their own channels.
        scales = {array.name: array.dims for array in onnx.load(out).graph.initializer
                  if array.name.endswith('weight_scale')}
        assert all(dims[0] > 1 for dims in scales.values())


@SLOW
def test_most_sensitive_layers_stay(exported, tmp_path, monkeypatch):
    """And where that does not help, nothing is written."""
    cfg, checkpoint, _, _ = exported('classifier')
    monkeypatch.setattr(quantization, 'TRIALS', (0, 4))
    points = iter([90., 80., 89.5])
    monkeypatch.setattr(quantization, '_metrics', lambda *_: {'top-1': next(points)})
    out = tmp_path / 'model.onnx'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
        quantization=Quantization('int8')))
    DefaultScope._instance_dict.clear()
    assert len(report.costs.in_float32) == 4
    layers = {node.name: node for node in onnx.load(out).graph.node}
    for name in report.costs.in_float32:
        assert not layers[name].input[1].endswith('DequantizeLinear_Output')
    out.unlink()
    points = iter([90., 80., 80.])
    with pytest.raises(ArgumentError, match='loses 10 points'):
        export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
            quantization=Quantization('int8')))
    DefaultScope._instance_dict.clear()
    assert not out.exists()


def test_calibration_pictures(exported, tmp_path):
    cfg, _, out, _ = exported('classifier')
    model = load(out)
    own = quantization.calibration_pictures(cfg, model)
    assert 0 < len(own) <= quantization.PICTURES
    assert all(picture.dtype == np.uint8 and picture.shape[:2] == (1, 3)
               for picture in own)
    with pytest.raises(DataError, match='no pictures'):
        quantization.calibration_pictures(cfg, model, str(tmp_path))
    (tmp_path / 'broken.jpg').write_text('no picture')
    with pytest.raises(DataError, match='broken.jpg'):
        quantization.calibration_pictures(cfg, model, str(tmp_path))
