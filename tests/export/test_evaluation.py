"""A data set's metric, computed through a file."""
import copy

import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from mmfastvit import ArgumentError  # noqa: E402
from mmfastvit.apis.evaluate import evaluate  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]


@pytest.mark.parametrize('kind', ['maskrcnn', 'fpn', 'classifier'])
def test_metric_through_the_file(kind, exported):
    cfg, checkpoint, out, _ = exported(kind)
    found = []
    for path in (checkpoint, out):
        found.append(evaluate(copy.deepcopy(cfg), str(path)))
        DefaultScope._instance_dict.clear()
    assert found[1] == pytest.approx(found[0], abs=1e-3, nan_ok=True)


def test_feature_maps_have_no_metric(exported):
    cfg, _, out, _ = exported('backbone')
    with pytest.raises(ArgumentError, match='whole model'):
        evaluate(copy.deepcopy(cfg), str(out))
    DefaultScope._instance_dict.clear()
