"""ExecuTorch's programs, for phones and boards, with XNNPACK."""
from pathlib import Path

from torch import Tensor, nn

from mmfastvit.export.converters import convert
from mmfastvit.export.tracing import record
from mmfastvit_runtime.engines.appended import append_metadata


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict) -> None:
    """Write ``path``, ``.pte``.

    Args:
        module: :class:`mmfastvit.export.network.Network`.
        pictures: (1, 3, H, W), of the shape to record with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`; where ``size`` is
            None, ``sides`` say between what height and width may vary.
    """
    convert('executorch', record(module, pictures.float(), metadata), path)
    append_metadata(path, metadata)
