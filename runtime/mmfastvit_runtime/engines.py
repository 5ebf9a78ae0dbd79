"""The libraries that run a file, one class for each."""
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .errors import PredictionError, first_line
from .files import library_name
from .metadata import check_outputs, parse
from .prediction import Arrays

KEY = 'mmfastvit'  # of the metadata in an exported file


class Engine(ABC):
    """A file, opened. Several threads may run it at a time.

    Attributes:
        metadata: What ``tools/export.py`` wrote into it.
    """

    metadata: dict

    @abstractmethod
    def run(self, pictures: np.ndarray) -> Arrays:
        """Map pictures (B, 3, H, W) uint8, BGR, already resized, to the outputs."""


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


ENGINES = {'.onnx': (OnnxRuntime, 'onnxruntime'), '.xml': (OpenVino, 'openvino')}


def open_file(path: str, **options) -> Engine:
    """Open a file that ``tools/export.py`` wrote, with the library for it.

    Args:
        path: The file, ``.onnx`` or ``.xml``.
        options: Of the engine.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours, or its
            library is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise PredictionError(f'There is no file {path}; tools/export.py writes one.')
    if path.suffix not in ENGINES:
        raise PredictionError(
            f'{path} does not end in {" or ".join(ENGINES)}, which is what runs here. '
            'A .pt2 of your own is for torch.export.load.')
    if options.get('threads') is not None and options['threads'] < 1:
        raise PredictionError(f'threads={options["threads"]}: give 1 or more, or leave '
                              'it out.')
    engine, library = ENGINES[path.suffix]
    try:
        path.open('rb').close()
    except OSError as error:
        raise PredictionError(f'{path} cannot be read: {error}.') from error
    try:
        return engine(path, **options)
    except ImportError as error:
        raise PredictionError(f'{path} needs {library}: pip install {library}.'
                              ) from error
    except (PredictionError, TypeError):  # TypeError: an option it does not have
        raise
    except Exception as error:  # the libraries have classes of their own
        raise PredictionError(
            f'{path} ({path.stat().st_size:,} bytes) is damaged, or was made for '
            f'another version of {library}: {first_line(error)}') from error
