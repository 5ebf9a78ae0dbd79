"""Files that run where their converter is, since this environment lacks the package."""
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mmfastvit_runtime import Arrays, PredictionError
from mmfastvit_runtime.engines import ENGINES, Engine, WholeModel, open_file
from mmfastvit_runtime.engines.appended import read_appended
from mmfastvit_runtime.metadata import parse

from . import HERE, environment, python_of

SUFFIXES = {'.pte': 'executorch'}  # by a file's suffix the converter


def open_anywhere(path: Path, **options) -> Engine:
    """Open an exported file here, or where its converter is.

    Args:
        path: The file.
        options: Of :func:`mmfastvit_runtime.engines.open_file`; there none counts.

    Raises:
        PredictionError: It cannot be opened.
    """
    path = Path(path)
    name = SUFFIXES.get(path.suffix)
    if name is None or find_spec(ENGINES[path.suffix][1]) or not path.is_file():
        return open_file(path, **options)
    return WholeModel(Remote(path, name))


class Remote(Engine):
    """An exported file, run by another Python. It ends with this object.

    Args:
        path: The file.
        name: Of ``CONVERTERS``.

    Raises:
        PredictionError: It cannot be opened there.
    """

    def __init__(self, path: Path, name: str):
        self.metadata = parse(path, read_appended(path)[1])
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [python_of(name), HERE / 'serve.py', path, self.folder.name], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment())
        self.own_turn = threading.Lock()
        self._wait()

    def run(self, pictures: np.ndarray) -> Arrays:
        with self.own_turn:
            np.save(Path(self.folder.name) / 'pictures.npy', pictures)
            print(file=self.process.stdin, flush=True)
            self._wait()
            with np.load(Path(self.folder.name) / 'found.npz') as found:
                return dict(found)

    def _wait(self) -> None:
        """Raise PredictionError unless the other says that it is done."""
        for line in self.process.stdout:
            if line.startswith('DONE'):
                return
            if line.startswith('ERROR'):
                raise PredictionError(line.removeprefix('ERROR').strip())
        raise PredictionError(
            f'The process that runs the file ended (exit code {self.process.wait()}).')

    def __del__(self):
        if hasattr(self, 'process'):
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
