"""OpenVINO's files, from ONNX's."""
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from mmfastvit_runtime import KEY

from . import onnx as onnx_format
from .source import Source


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict,
          opset: int = onnx_format.OPSET) -> None:
    """Write ``path``, ``.xml``, and its weights, ``.bin``, beside it.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`.
        pictures: (B, 3, H, W) uint8, of the shape to record with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
        opset: Of the ONNX file in between.
    """
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / 'model.onnx'
        onnx_format.write(module, pictures, between, metadata, opset)
        convert(between, path)


def reduce(source: Source, path: Path, dtype: str, pictures: Sequence[np.ndarray] = (),
           in_float32: Sequence[str] = ()) -> None:
    """Write a file in fewer bits; see ``Format.reduce``. ONNX's are what it reads."""
    if dtype != 'int8':
        convert(source.plain, path, float16=dtype == 'float16')
        return
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / 'model.onnx'
        onnx_format.reduce(source, between, dtype, pictures, in_float32)
        convert(between, path)


def convert(source: Path, path: Path, float16: bool = False) -> None:
    """Write an ONNX file of ours as OpenVINO's, its metadata, too.

    Args:
        source: The ONNX file.
        path: File to write, ``.xml``.
        float16: Whether to store the weights so, rounded.
    """
    import openvino
    model = openvino.convert_model(source)
    metadata = onnx_format.read_metadata(source)
    model.set_rt_info(json.dumps(metadata), KEY)
    openvino.save_model(model, path, compress_to_fp16=float16)
