"""The kinds of files that a model can leave as, one row each."""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from ..errors import ArgumentError
from . import coreml_format, onnx_format, openvino_format, torch_format
from .runtime.engines import Engine, OnnxRuntime, OpenVino


@dataclass(frozen=True)
class Quantization:
    """How a file computes in fewer bits.

    Attributes:
        dtype: ``'float16'`` or ``'int8'``.
        calibration: A folder of pictures, or a config whose training pictures tell
            the range of activations; None takes those of the model's config.
        max_drop: Points, of 100, that AP50 of boxes or masks, mIoU or top-1 of the
            test data may lose.
    """

    dtype: str
    calibration: str | None = None
    max_drop: float = 1.


@dataclass(frozen=True)
class Options:
    """What a file is to be.

    Attributes:
        format: Of :data:`FORMATS`; None leaves it to the file's name.
        opset: Version of ONNX's operators, 11 to 20; None takes 20.
        size: Height and width, if the file is to take pictures of that size alone;
            by default it takes every size.
        backbone_only: Whether it gives the feature maps instead of the predictions.
        quantization: How it computes in fewer bits; None keeps float32.
        paste: Whether masks are to be pictures, not squares over their boxes.
    """

    format: str | None = None
    opset: int | None = None
    size: tuple[int, int] | None = None
    backbone_only: bool = False
    quantization: Quantization | None = None
    paste: bool = False


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: As the command line has it.
        suffix: That its name ends in.
        packages: That write and verify it.
        write: Writes it: module, pictures, path, metadata, and where
            ``has_opsets`` the opset.
        open: Runs it, for its verification; None where this machine cannot.
        operators: Counts what is in it, for compilers that know few operators.
        has_opsets: Whether it is made of a version of ONNX's operators.
        is_folder: Whether it is a folder.
        is_static: Whether it takes one picture, of one size.
    """

    name: str
    suffix: str
    packages: tuple[str, ...]
    write: Callable[..., None]
    open: Callable[[Path], Engine] | None = None
    operators: Callable[[Path], Counter[str]] | None = None
    has_opsets: bool = False
    is_folder: bool = False
    is_static: bool = False


ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
FORMATS = {row.name: row for row in (
    Format('onnx', '.onnx', ONNX_PACKAGES, onnx_format.write, OnnxRuntime,
           onnx_format.operators, has_opsets=True),
    Format('openvino', '.xml', (*ONNX_PACKAGES, 'openvino'),
           openvino_format.write, OpenVino, has_opsets=True),
    Format('torch', '.pt2', (), torch_format.write, torch_format.TorchProgram),
    Format('coreml', '.mlpackage', ('coremltools', ), coreml_format.write,
           operators=coreml_format.operators, is_folder=True, is_static=True))}


def format_of(path: str, name: str | None = None) -> Format:
    """Return the format of a file's name, ready to be written.

    Args:
        path: The file.
        name: Of ``FORMATS``; None leaves it to the file's name.

    Raises:
        ArgumentError: The name does not tell it, or a package is missing.
    """
    suffix = Path(path).suffix
    row = next((row for row in FORMATS.values() if suffix == row.suffix
                and name in (None, row.name)), None)
    if row is None:
        allowed = ', '.join(f'{row.suffix} ({row.name})' for row in
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


def check_options(options: Options, kind: Format, task: str, module: nn.Module
                  ) -> None:
    """Raise ArgumentError if a model cannot leave as the options say.

    Args:
        options: What is asked for.
        kind: The file's format.
        task: Of :func:`mmfastvit.export.models.exportable`.
        module: Of it, too.
    """
    opset, quantization = options.opset, options.quantization
    if opset is not None:
        lowest, highest = onnx_format.OPSETS
        lowest = getattr(module, 'lowest_opset', lowest)
        if not kind.has_opsets:
            raise ArgumentError(f'opset={opset}: a file of {kind.name} has none; leave '
                                'it out.')
        if not lowest <= opset <= highest:
            raise ArgumentError(f'opset={opset}: give {lowest} to {highest}.')
    if kind.is_static and (task == 'detection' or options.size is None):
        raise ArgumentError(
            f'{kind.name} takes pictures of one size (--static HxW), and of detectors '
            'the feature maps alone (--backbone-only).')
    if quantization is None:
        return
    if quantization.dtype not in ('float16', 'int8'):
        raise ArgumentError(f'quantize={quantization.dtype}: give float16 or int8.')
    if not kind.has_opsets or is_old(opset) or task == 'features':
        raise ArgumentError(
            f'quantize={quantization.dtype}: only whole models, whose metric tells '
            f'what it costs, as ONNX of opset {onnx_format.LOWEST} or newer or '
            'OpenVINO; leave it out.')


def is_old(opset: int | None) -> bool:
    """Whether a version of ONNX's operators is what compilers of boards want."""
    return opset is not None and opset < onnx_format.LOWEST


def is_static(options: Options, kind: Format) -> bool:
    """Whether the file takes one picture at a time, of one size."""
    return kind.is_static or is_old(options.opset) and options.size is not None
