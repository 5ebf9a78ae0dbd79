"""The libraries that run a file: a row each, and a file each."""
from pathlib import Path

from mmfastvit_runtime.errors import PredictionError, first_line

from .engine import KEY, Engine
from .executorch import ExecuTorch
from .litert import LiteRt
from .ncnn import Ncnn
from .network import WholeModel
from .onnx_runtime import OnnxRuntime
from .openvino import OpenVino

__all__ = ['ENGINES', 'KEY', 'Engine', 'ExecuTorch', 'LiteRt', 'Ncnn', 'OnnxRuntime',
           'OpenVino', 'WholeModel', 'open_file']

# By a file's suffix the class, and the package that it needs.
ENGINES: dict[str, tuple[type[Engine], str]] = {
    '.onnx': (OnnxRuntime, 'onnxruntime'), '.xml': (OpenVino, 'openvino'),
    '.param': (Ncnn, 'ncnn'), '.pte': (ExecuTorch, 'executorch'),
    '.tflite': (LiteRt, 'ai_edge_litert')}


def open_file(path: str, **options) -> Engine:
    """Open a file that ``tools/export.py`` wrote, with the library for it.

    Args:
        path: The file, whose suffix has a row in ``ENGINES``.
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
    kind, library = ENGINES[path.suffix]
    if kind is not OnnxRuntime:
        device = options.pop('device', 'cpu')
        if device != 'cpu':
            raise PredictionError(f'device={device} is for .onnx, which ONNX Runtime '
                                  f'computes; {path} runs on the CPU.')
    try:
        path.open('rb').close()
    except OSError as error:
        raise PredictionError(f'{path} cannot be read: {error}.') from error
    try:
        engine = kind(path, **options)
        return WholeModel(engine) if engine.metadata.get('network') else engine
    except ImportError as error:
        raise PredictionError(f'{path} needs {library}: pip install {library}.'
                              ) from error
    except (PredictionError, TypeError):  # TypeError: an option it does not have
        raise
    except Exception as error:  # the libraries have classes of their own
        raise PredictionError(
            f'{path} ({path.stat().st_size:,} bytes) is damaged, or was made for '
            f'another version of {library}: {first_line(error)}') from error
