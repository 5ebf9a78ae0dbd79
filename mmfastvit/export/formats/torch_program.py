"""PyTorch's own files of programs, which load without the toolboxes."""
import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.export.tracing import quiet, record
from mmfastvit_runtime import KEY, Arrays
from mmfastvit_runtime.engines import Engine

METADATA = f'{KEY}.json'  # in the file


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict) -> None:
    """Write a program, ``.pt2``.

    ``torch.export.load`` reads it, with ``import torchvision`` before it for
    detectors.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`.
        pictures: (B, 3, H, W) uint8, of the shape to record with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
    """
    program = record(module, pictures, metadata)
    program.example_inputs = None  # pickled they would be
    content = io.BytesIO()  # into files, it writes their name
    with quiet():
        torch.export.save(program, content, extra_files={
            METADATA: json.dumps(metadata)})
    path.write_bytes(content.getvalue())


class TorchProgram(Engine):
    """PyTorch, for a ``.pt2`` of one's own.

    Reading one runs what it says, so that nothing of the runtime, whose files may
    come from anywhere, does.
    """

    def __init__(self, path: Path):
        files = {METADATA: ''}
        with quiet():
            self.module = torch.export.load(path, extra_files=files).module()
        self.metadata = json.loads(files[METADATA])

    def run(self, pictures: np.ndarray) -> Arrays:
        with torch.no_grad():
            found = self.module(torch.from_numpy(pictures))
        found = found if isinstance(found, (tuple, list)) else (found, )
        return {name: x.numpy() for name, x in zip(self.metadata['outputs'], found)}
