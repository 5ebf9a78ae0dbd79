"""ExecuTorch's programs, for phones and boards, with XNNPACK."""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from mmfastvit.export.converters import convert, saved
from mmfastvit.export.tracing import record
from mmfastvit_runtime.engines.appended import append_metadata

from .source import Source


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


def reduce(source: Source, path: Path, dtype: str, pictures: Sequence[np.ndarray] = (),
           in_float32: Sequence[str] = ()) -> None:
    """Write a file in fewer bits; see ``Format.reduce``."""
    program = record(source.module, source.pictures.float(), source.metadata)
    with saved(pictures) as folder:
        convert('executorch', program, path, folder,
                json.dumps(source.metadata.get('sides')))
    append_metadata(path, source.metadata)
