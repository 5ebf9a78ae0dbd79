"""The kinds of files that a model can leave as: a row each, and a file each."""
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.export.converters.remote import open_anywhere
from mmfastvit.utils.errors import ArgumentError
from mmfastvit_runtime.engines import Engine, open_file

from . import coreml, executorch, litert, ncnn, onnx, openvino, torch_program
from .source import Source


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
        is_static: Whether it takes pictures of one size.
        one_picture: Whether it takes one picture at a time.
        is_bounded: Whether height and width may vary between bounds alone.
        is_mobile: Whether it holds the network alone, and the runtime does the rest.
        lacks: Tasks that it cannot hold.
        dtypes: Fewer bits that it has.
        reduce: Writes it in these: source, path, dtype, pictures (each an array
            (1, 3, H, W), as the network takes them) that tell the range of
            activations, and names of layers that stay in float32.
        most_sensitive: Names its layers, those first that suffer most from int8:
            source and pictures; None where it has no names.
        origin: Name of the format that ``reduce`` reads.
        has_threads: Whether it can be told how many threads to take.
        known: Modules of ``SUBSTITUTES`` that it has operators for.
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
    one_picture: bool = False
    is_bounded: bool = False
    is_mobile: bool = False
    lacks: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    reduce: Callable[..., None] | None = None
    most_sensitive: Callable[[Source, Sequence[np.ndarray]], list[str]] | None = None
    origin: str | None = None
    has_threads: bool = True
    known: tuple[str, ...] = ()


ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
FORMATS = {row.name: row for row in (
    Format('onnx', '.onnx', ONNX_PACKAGES, onnx.write, open_file,
           onnx.operators, has_opsets=True, dtypes=('float16', 'int8'),
           reduce=onnx.reduce, most_sensitive=onnx.most_sensitive),
    Format('openvino', '.xml', (*ONNX_PACKAGES, 'openvino'),
           openvino.write, open_file, has_opsets=True, dtypes=('float16', 'int8'),
           reduce=openvino.reduce, most_sensitive=onnx.most_sensitive, origin='onnx'),
    Format('torch', '.pt2', (), torch_program.write, torch_program.TorchProgram),
    Format('coreml', '.mlpackage', ('coremltools', ), coreml.write,
           operators=coreml.operators, is_folder=True, is_static=True,
           one_picture=True, lacks=('detection', )),
    Format('ncnn', '.ncnn.param', ('ncnn', 'pnnx'), ncnn.write, open_file,
           ncnn.operators, one_picture=True, is_mobile=True,
           dtypes=('float16', ), reduce=ncnn.reduce,
           known=('torch.nn.modules.pooling.AdaptiveAvgPool2d', )),
    Format('executorch', '.pte', (), executorch.write, open_anywhere,
           one_picture=True, is_bounded=True, is_mobile=True,
           dtypes=('int8', ), reduce=executorch.reduce, has_threads=False),
    Format('litert', '.tflite', ('ai_edge_litert', ), litert.write, open_file,
           is_static=True, one_picture=True, is_mobile=True,
           dtypes=('float16', 'int8'), reduce=litert.reduce))}


def write_source(kind: Format, module: nn.Module, pictures: Tensor, metadata: dict,
                 folder: Path, **options: int) -> tuple[Format, Source]:
    """Write a file in float32, for ``kind.reduce``.

    Args:
        kind: The format of the file in fewer bits.
        module, pictures, metadata: That ``Format.write`` takes.
        folder: Where it goes, as ``plain``.
        options: Of ``Format.write``.

    Returns:
        The format that it is of, and it.
    """
    origin = FORMATS[kind.origin or kind.name]
    source = Source(module, pictures, metadata, folder / f'plain{origin.suffix}')
    origin.write(module, pictures, source.plain, metadata, **options)
    return origin, source


def format_of(path: str, name: str | None = None) -> Format:
    """Return the format of a file's name, ready to be written.

    Args:
        path: The file.
        name: Of ``FORMATS``; None leaves it to the file's name.

    Raises:
        ArgumentError: The name does not tell it, or a package is missing.
    """
    if name not in (None, *FORMATS):
        raise ArgumentError(f'format={name}: allowed are {", ".join(FORMATS)}.')
    row = next((row for row in FORMATS.values() if str(path).endswith(row.suffix)
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
