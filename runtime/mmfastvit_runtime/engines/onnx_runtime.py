"""ONNX Runtime, for ``.onnx``."""
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from mmfastvit_runtime.errors import PredictionError
from mmfastvit_runtime.files import library_name
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .engine import KEY, Engine

CPU = 'CPUExecutionProvider'  # computes what another provider cannot
# By name, ONNX Runtime's provider and the package that has it.
DEVICES = {'cpu': (CPU, 'onnxruntime'),
           'cuda': ('CUDAExecutionProvider', 'onnxruntime-gpu'),
           'tensorrt': ('TensorrtExecutionProvider', 'onnxruntime-gpu'),
           'coreml': ('CoreMLExecutionProvider', 'onnxruntime on macOS'),
           'directml': ('DmlExecutionProvider', 'onnxruntime-directml on Windows')}


class OnnxRuntime(Engine):
    """ONNX Runtime, for ``.onnx``.

    Args:
        path: The file.
        threads: How many it may use; None leaves it to the library.
        device: Of ``DEVICES``; others than the CPU may compute with fewer digits.
        providers: ONNX Runtime's own, the first that works, instead of a device.

    Raises:
        PredictionError: The device is not known, or does not work here.
    """

    def __init__(self, path: Path, threads: int | None = None, device: str = 'cpu',
                 providers: Sequence[str] | None = None):
        import onnxruntime
        wanted = _providers(device, onnxruntime)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(
            library_name(path), options, providers=list(providers or wanted))
        if not providers and self.session.get_providers()[0] != wanted[0]:
            raise PredictionError(
                f'{wanted[0]} does not start here, and ONNX Runtime would compute '
                'on the CPU: look at its driver, or take device=cpu.')
        self.names = [output.name for output in self.session.get_outputs()]
        self.metadata = parse(
            path, self.session.get_modelmeta().custom_metadata_map.get(KEY))
        check_outputs(path, self.metadata, [
            given.name for given in self.session.get_inputs()], self.names)

    def run(self, pictures: np.ndarray) -> Arrays:
        return dict(zip(self.names, self.session.run(self.names,
                                                     {'image': pictures})))


def _providers(device: str, onnxruntime: ModuleType) -> list[str]:
    """Return a device's provider, and the CPU's behind it.

    Raises:
        PredictionError: The device is not known, or its package is not installed.
    """
    if device not in DEVICES:
        raise PredictionError(f'device={device}: allowed are {", ".join(DEVICES)}.')
    provider, package = DEVICES[device]
    if provider not in onnxruntime.get_available_providers():
        raise PredictionError(
            f'device={device} needs {provider}, which {package} has; installed is an '
            f'onnxruntime with {", ".join(onnxruntime.get_available_providers())}.')
    return list(dict.fromkeys((provider, CPU)))
