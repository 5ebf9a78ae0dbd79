"""The kinds of files that a model can leave as, one row each."""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from ..errors import ArgumentError
from . import coreml_format, onnx_format, openvino_format, torch_format
from .runtime.engines import Engine, OnnxRuntime, OpenVino


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: As the command line has it.
        suffixes: Of the files it consists of, the one that is named first.
        packages: That write and verify it.
        write: Writes it: module, pictures, path, metadata, and where
            ``has_opsets`` the opset.
        open: Runs it, for its verification; None where this machine cannot.
        operators: Counts what is in it, for who needs to know.
        has_opsets: Whether it consists of a version of ONNX's operators.
        is_folder: Whether it is a folder.
    """

    name: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[..., None]
    open: Callable[[Path], Engine] | None = None
    operators: Callable[[Path], Counter[str]] | None = None
    has_opsets: bool = False
    is_folder: bool = False


ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
FORMATS = {row.name: row for row in (
    Format('onnx', ('.onnx', ), ONNX_PACKAGES, onnx_format.write, OnnxRuntime,
           onnx_format.operators, has_opsets=True),
    Format('openvino', ('.xml', '.bin'), (*ONNX_PACKAGES, 'openvino'),
           openvino_format.write, OpenVino, has_opsets=True),
    Format('torch', ('.pt2', ), (), torch_format.write, torch_format.TorchProgram),
    Format('coreml', ('.mlpackage', ), ('coremltools', ), coreml_format.write,
           operators=coreml_format.operators, is_folder=True))}


def format_of(path: str, name: str | None = None) -> Format:
    """Return the format of a file's name, ready to be written.

    Args:
        path: The file.
        name: Of ``FORMATS``; None leaves it to the file's name.

    Raises:
        ArgumentError: The name does not tell it, or a package is missing.
    """
    suffix = Path(path).suffix
    row = next((row for row in FORMATS.values() if suffix == row.suffixes[0]
                and name in (None, row.name)), None)
    if row is None:
        allowed = ', '.join(f'{row.suffixes[0]} ({row.name})' for row in
                            FORMATS.values() if name in (None, row.name))
        raise ArgumentError(f'{path}: give a name that ends in {allowed}.')
    if torch.__version__ < '2.6':
        raise ArgumentError(f'Export needs torch 2.6 or newer; this is '
                            f'{torch.__version__}.')
    missing = [package for package in row.packages if find_spec(package) is None]
    if missing:
        raise ArgumentError(f'Export as {row.name} needs {", ".join(missing)}: pip '
                            f'install {" ".join(missing)}.')
    return row
