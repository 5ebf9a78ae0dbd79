"""ONNX Runtime, for ``.onnx``."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmfastvit_runtime.files import library_name
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .engine import KEY, Engine


class OnnxRuntime(Engine):
    """ONNX Runtime, for ``.onnx``.

    Args:
        path: The file.
        threads: How many it may use; None leaves it to the library.
        providers: ONNX Runtime's, the first that works; others than the CPU's may
            compute with fewer digits.
    """

    def __init__(self, path: Path, threads: int | None = None,
                 providers: Sequence[str] = ('CPUExecutionProvider', )):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(
            library_name(path), options, providers=list(providers))
        self.names = [output.name for output in self.session.get_outputs()]
        self.metadata = parse(
            path, self.session.get_modelmeta().custom_metadata_map.get(KEY))
        check_outputs(path, self.metadata, [
            given.name for given in self.session.get_inputs()], self.names)

    def run(self, pictures: np.ndarray) -> Arrays:
        return dict(zip(self.names, self.session.run(self.names,
                                                     {'image': pictures})))
