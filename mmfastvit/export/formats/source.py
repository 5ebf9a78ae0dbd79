"""What a file in fewer bits is made of."""
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn


@dataclass(frozen=True)
class Source:
    """A verified file in float32, and what it was written from.

    Attributes:
        module: From :func:`mmfastvit.export.models.exportable`, or for phones and
            boards :class:`mmfastvit.export.network.Network`.
        pictures: (B, 3, H, W), of the shape to record with.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
        plain: The file.
    """

    module: nn.Module
    pictures: Tensor
    metadata: dict
    plain: Path
