"""ExecuTorch on the CPU, for ``.pte``."""
import threading
from pathlib import Path

import numpy as np

from mmfastvit_runtime.errors import PredictionError
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .appended import read_appended
from .engine import Engine


class ExecuTorch(Engine):
    """A program of ExecuTorch.

    Args:
        path: The file.
        threads: None; its Python interface has no setting for them.

    Raises:
        PredictionError: ``threads`` are named, or the file is damaged: ExecuTorch would
            run it, whatever it holds.
    """

    def __init__(self, path: Path, threads: int | None = None):
        from executorch.runtime import Runtime
        if threads is not None:
            raise PredictionError('ExecuTorch takes the threads that it wants: leave '
                                  'threads out.')
        self.program, text = read_appended(path)
        self.metadata = parse(path, text, needs_network=True)
        self.method = Runtime.get().load_program(self.program).load_method('forward')
        names = self.metadata['network']['outputs']
        said = self.method.metadata
        check_outputs(path, self.metadata, ['image'] * said.num_inputs(),
                      names if said.num_outputs() == len(names) else
                      [f'output {i}' for i in range(said.num_outputs())])
        self.own_turn = threading.Lock()  # a method has one memory

    def run(self, pictures: np.ndarray) -> Arrays:
        import torch
        with self.own_turn:
            found = self.method.execute([torch.from_numpy(pictures)])
            return {name: x.numpy().copy() for name, x in
                    zip(self.metadata['network']['outputs'], found)}
