"""ONNX files, through PyTorch's exporter."""
import json
import logging
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from .runtime import KEY, first_line

OPSET = 18
OPSETS = (18, 20)  # the exporter's floor; ONNX Runtime has no RoIAlign at 22


def check_opset(opset: int) -> None:
    """Raise ArgumentError if nothing can be exported with these operators."""
    lowest, highest = OPSETS
    if not lowest <= opset <= highest:
        raise ArgumentError(f'opset={opset}: give {lowest} to {highest}.')
    if torch.__version__ < '2.6':
        raise ArgumentError(f'Export needs torch 2.6 or newer; this is '
                            f'{torch.__version__}.')
    missing = [name for name in ('onnx', 'onnxscript', 'onnxruntime')
               if find_spec(name) is None]
    if missing:
        raise ArgumentError(f'Export needs {", ".join(missing)}: pip install '
                            f'{" ".join(missing)}.')


def write_onnx(module: nn.Module, pictures: Tensor, path: Path, metadata: dict,
               opset: int = OPSET) -> None:
    """Write one file, weights inside: up to 2 GB, ten times the largest here.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`.
        pictures: (B, 3, H, W) uint8, of the shape to trace with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`; where its ``size``
            is None, height and width may vary.
        opset: Version of ONNX's operators.
    """
    dynamic = {}
    if metadata['size'] is None:
        dynamic = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    if metadata['task'] != 'detection':
        dynamic[0] = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module, (pictures, ), dynamo=True, opset_version=opset,
                input_names=['image'], output_names=module.outputs,
                dynamic_shapes=(dynamic or None, ), verbose=False)
    except torch.onnx.OnnxExporterError as error:
        reason = first_line(error.__cause__ or error)
        raise ArgumentError(
            f'PyTorch\'s exporter cannot follow this model: {reason} Export its '
            'backbone alone (--backbone-only).') from error
    program.model.metadata_props[KEY] = json.dumps(metadata)
    program.save(path)


@contextmanager
def _quiet():
    """Silence what the exporter says of its own workings."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
