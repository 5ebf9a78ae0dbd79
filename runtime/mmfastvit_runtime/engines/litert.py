"""LiteRT on the CPU, for ``.tflite``."""
import os
import threading
from pathlib import Path

import numpy as np

from mmfastvit_runtime.errors import PredictionError
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .appended import read_appended
from .engine import Engine


class LiteRt(Engine):
    """A model of LiteRT, which was called TensorFlow Lite.

    Args:
        path: The file.
        threads: How many it may use; None takes one for each core.

    Raises:
        PredictionError: It is damaged, or :meth:`run` gets another size.
    """

    def __init__(self, path: Path, threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter
        content, text = read_appended(path)
        self.metadata = parse(path, text, needs_network=True)
        interpreter = Interpreter(model_content=content,
                                  num_threads=threads or os.cpu_count())
        signature = interpreter.get_signature_list()['serving_default']
        names = self.metadata['network']['outputs']
        # What the converter calls them, in the order of the program.
        own = [f'output_{i}' for i in range(len(names))]
        check_outputs(path, self.metadata, ['image'] * len(signature['inputs']),
                      names if set(signature['outputs']) == set(own) else
                      signature['outputs'])
        self.by_own = dict(zip(own, names))
        self.given, = signature['inputs']
        self.shape = tuple(map(int, interpreter.get_input_details()[0]['shape']))
        self.compute = interpreter.get_signature_runner()
        self.own_turn = threading.Lock()  # an interpreter has one memory

    def run(self, pictures: np.ndarray) -> Arrays:
        if pictures.shape != self.shape:  # to which the library would change the graph
            raise PredictionError(
                f'This file takes arrays of {self.shape} (batch, channels, height, '
                f'width); this is {pictures.shape}. Let the runtime resize pictures, '
                'by calling the model with them.')
        with self.own_turn:
            found = self.compute(**{self.given: pictures})
        return {name: found[own] for own, name in self.by_own.items()}
