"""OpenVINO's files, from ONNX's."""
import json
import tempfile
from pathlib import Path

from torch import Tensor, nn

from . import onnx_format
from .runtime import KEY


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
    import openvino
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / 'model.onnx'
        onnx_format.write(module, pictures, between, metadata, opset)
        model = openvino.convert_model(between)
    model.set_rt_info(json.dumps(metadata), KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
