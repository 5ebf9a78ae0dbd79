"""Where ONNX Runtime computes: what is missing is said."""
import pytest

pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from tiny_models import write_model  # noqa: E402

from mmfastvit_runtime import PredictionError, load  # noqa: E402
from mmfastvit_runtime.engines.onnx_runtime import DEVICES  # noqa: E402


@pytest.fixture
def model(tmp_path):
    return str(write_model(tmp_path / 'model.onnx', 'classification'))


@pytest.mark.parametrize('device', DEVICES)
def test_devices(device, model):
    provider, package = DEVICES[device]
    if provider in onnxruntime.get_available_providers():
        assert load(model, device=device).engine.session.get_providers()[0] == provider
        return
    with pytest.raises(PredictionError, match=f'needs {provider}, which {package}'):
        load(model, device=device)


def test_a_provider_that_does_not_start(model, monkeypatch):
    """ONNX Runtime itself goes on with the CPU, and says so in a log alone."""
    monkeypatch.setattr(onnxruntime, 'get_available_providers',
                        lambda: ['CUDAExecutionProvider', 'CPUExecutionProvider'])
    with pytest.raises(PredictionError, match='would compute on the CPU'):
        load(model, device='cuda')


def test_other_files_and_names(model, tmp_path):
    with pytest.raises(PredictionError, match='allowed are cpu, cuda'):
        load(model, device='gpu')
    other = tmp_path / 'model.xml'
    other.touch()
    with pytest.raises(PredictionError, match='is for .onnx'):
        load(str(other), device='cuda')
