"""CoreML's packages, for Apple's devices."""
import json
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from mmfastvit.export.tracing import quiet
from mmfastvit_runtime import KEY


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict) -> None:
    """Write a package, ``.mlpackage``, a folder, in float32.

    It takes a picture of one size, as CoreML's image type. CoreML runs on Apple's
    systems alone.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`; no detector.
        pictures: (1, 3, H, W) uint8, of the size to take.
        path: Folder to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
    """
    picture = pictures.float()
    with torch.no_grad(), quiet():
        import coremltools  # says what Linux lacks
        traced = torch.jit.trace(module, (picture, ))
        model = coremltools.convert(
            traced, convert_to='mlprogram',
            inputs=[coremltools.ImageType(
                'image', shape=picture.shape,
                color_layout=coremltools.colorlayout.BGR)],
            outputs=[coremltools.TensorType(name) for name in module.outputs],
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS16)
    model.user_defined_metadata[KEY] = json.dumps(metadata)
    model.save(path)


def operators(path: str) -> Counter[str]:
    """Return how often each operator, constants left out, is in a package."""
    with quiet():
        import coremltools
    spec = coremltools.utils.load_spec(str(path))
    return Counter(
        operation.type for function in spec.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for operation in block.operations if operation.type != 'const')
