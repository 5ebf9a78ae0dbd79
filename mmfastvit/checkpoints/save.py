"""Writing checkpoints."""
from pathlib import Path
from typing import Any

import torch


def save(content: Any, path: Path) -> None:
    """Write a checkpoint, as ``torch.save`` does, and notice a full disk.

    Given a path, PyTorch 2.1 writes the file itself, and does not look whether that
    went well (guarded by tests/checkpoints/test_save.py).

    Raises:
        OSError: It cannot be written.
    """
    with open(path, 'wb') as file:
        torch.save(content, file)
