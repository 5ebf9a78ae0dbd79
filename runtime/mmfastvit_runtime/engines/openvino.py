"""OpenVINO, for ``.xml`` with its ``.bin``."""
import threading
from pathlib import Path

import numpy as np

from mmfastvit_runtime.errors import PredictionError
from mmfastvit_runtime.files import library_name
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .engine import KEY, Engine


class OpenVino(Engine):
    """OpenVINO on the CPU, for ``.xml`` with its ``.bin`` beside it.

    Args:
        path: The file.
        threads: How many it may use; None leaves it to the library.
    """

    def __init__(self, path: Path, threads: int | None = None):
        import openvino
        weights = path.with_suffix('.bin')
        if not weights.is_file():
            raise PredictionError(f'{path} needs its weights, {weights}, beside it: '
                                  'copy both.')
        core = openvino.Core()
        model = core.read_model(library_name(path))
        self.metadata = parse(path, model.get_rt_info(KEY).astype(str)
                               if model.has_rt_info(KEY) else None)
        # Each may have several names; any_name is any.
        self.names = [
            next((name for name in self.metadata['outputs'] if name in output.names),
                 output.any_name if output.names else '') for output in model.outputs]
        check_outputs(path, self.metadata, [
            'image' if 'image' in given.names else str(given.names)
            for given in model.inputs], self.names)
        # It would compute in bfloat16 where the processor can.
        options = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            options['INFERENCE_NUM_THREADS'] = threads
        self.model = core.compile_model(model, 'CPU', options)
        # A request holds one picture's results: each thread has its own.
        self.requests = threading.local()

    def run(self, pictures: np.ndarray) -> Arrays:
        if not hasattr(self.requests, 'own'):
            self.requests.own = self.model.create_infer_request()
        found = self.requests.own.infer([pictures])
        return {name: found[i] for i, name in enumerate(self.names)}
