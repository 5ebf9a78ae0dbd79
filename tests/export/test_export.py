"""A file is kept only if it computes what PyTorch computes."""
import copy
from importlib.util import find_spec

import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from helpers import shapes_case  # noqa: E402
from mmfastvit import ArgumentError, CheckpointError, DataError  # noqa: E402
from mmfastvit.engine.runner import build_runner  # noqa: E402
from mmfastvit.export import Options, Quantization, export, verification  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
NEEDS_LITERT, NEEDS_NCNN = (
    pytest.mark.skipif(find_spec(package) is None, reason=f'there is no {package}')
    for package in ('ai_edge_litert', 'ncnn'))


def test_a_file_that_differs_is_not_kept(shapes, tmp_path, monkeypatch):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    monkeypatch.setitem(verification.TOLERANCES, 'scores', -1.)
    with pytest.raises(CheckpointError, match='computes something else'):
        export(cfg, str(checkpoint), str(tmp_path / 'out' / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert list((tmp_path / 'out').iterdir()) == []


@pytest.mark.parametrize('name, options, message', [
    ('model.pt2', dict(quantization=Quantization('int8')), 'openvino'),
    ('model.onnx', dict(quantization=Quantization('int4')), 'int8'),
    ('model.onnx', dict(quantization=Quantization('int8'), backbone_only=True),
     'metric'),
    ('model.bin', {}, '.onnx'),
    pytest.param('model.tflite', {}, '--static', marks=NEEDS_LITERT),
    pytest.param('model.ncnn.param', dict(quantization=Quantization('int8')),
                 'allowed for ncnn are float16; int8 have onnx', marks=NEEDS_NCNN),
    ('model.onnx', dict(opset=10), '11 to 20'),
    ('model.onnx', dict(format='openvino'), '.xml'),
    ('model.pt2', dict(opset=18), 'leave it out'),
    ('model.mlpackage', {}, '--static'),
    ('checkpoint/model.onnx', {}, 'cannot be written')])
def test_bad_targets(name, options, message, shapes, tmp_path):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    (tmp_path / 'checkpoint').write_text('a file, no folder')
    before = set(tmp_path.iterdir())
    with pytest.raises(ArgumentError, match=message):
        export(cfg, str(checkpoint), str(tmp_path / name), Options(**options))
    DefaultScope._instance_dict.clear()
    assert set(tmp_path.iterdir()) == before


def test_what_it_is_made_from_is_not_replaced(shapes, tmp_path):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    DefaultScope._instance_dict.clear()
    checkpoint = checkpoint.rename(tmp_path / 'model.pt2')
    before = checkpoint.read_bytes()
    with pytest.raises(ArgumentError, match='is the source'):
        export(cfg, str(checkpoint), str(checkpoint))
    checkpoint = checkpoint.rename(tmp_path / 'model.onnx.json')
    with pytest.raises(ArgumentError, match='is the source'):
        export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'))
    assert checkpoint.read_bytes() == before


def test_what_libraries_raise_is_said(shapes, tmp_path, monkeypatch):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    before = set(tmp_path.iterdir())

    def fails(*args, **kwargs):
        raise RuntimeError('aten::new is unknown\nand more')
    monkeypatch.setattr(torch.export, 'export', fails)
    with pytest.raises(ArgumentError, match='leave as onnx: aten::new is unknown Exp'):
        export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert set(tmp_path.iterdir()) == before


def test_images_that_the_runtime_does_not_read(shapes, tmp_path):
    cfg, _ = shapes_case('classifier', shapes, tmp_path)
    cfg.model.backbone.in_channels = 4
    model = build_runner(copy.deepcopy(cfg)).model
    DefaultScope._instance_dict.clear()
    torch.save(model.state_dict(), tmp_path / 'four.pth')
    with pytest.raises(ArgumentError, match='images of 4 channels'):
        export(cfg, str(tmp_path / 'four.pth'), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert not (tmp_path / 'model.onnx').exists()


def test_damaged_test_data_is_no_missing_test_data(shapes, tmp_path):
    """For which pictures are generated."""
    cfg, checkpoint = shapes_case('maskrcnn', shapes, tmp_path)
    cfg.test_dataloader.dataset.ann_file = str(tmp_path / 'broken.json')
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(DataError, match='broken.json'):
        export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
