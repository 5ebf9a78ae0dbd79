"""LiteRT's models, which were called TensorFlow Lite's, for phones and boards."""
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from mmfastvit.export.converters import convert, run_converter, saved
from mmfastvit.export.tracing import record
from mmfastvit_runtime.engines.appended import append_metadata, read_appended

from .source import Source


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict) -> None:
    """Write ``path``, ``.tflite``, for pictures of one size.

    Args:
        module: :class:`mmfastvit.export.network.Network`.
        pictures: (1, 3, H, W), of the size to take.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
    """
    convert('litert', record(module, pictures.float(), metadata), path)
    append_metadata(path, metadata)


def reduce(source: Source, path: Path, dtype: str, pictures: Sequence[np.ndarray] = (),
           in_float32: Sequence[str] = ()) -> None:
    """Write a file in fewer bits; see ``Format.reduce``."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / 'plain.tflite'
        plain.write_bytes(read_appended(source.plain)[0])
        with saved(pictures) as ranges:
            run_converter('litert', 'fewer_bits', plain, path, dtype, ranges)
    append_metadata(path, source.metadata)
