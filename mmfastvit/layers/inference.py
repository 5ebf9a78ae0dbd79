"""What may be saved where no backward pass and no tracer looks on."""

import torch
from torch import Tensor

from .compiling import is_traced


def overwrites() -> bool:
    """Whether intermediate maps may be overwritten.

    A new map would cost more time than most operations on it: the system finds
    memory for large ones anew, and clears it, each time.
    """
    return not (torch.is_grad_enabled() or is_traced())


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y, in inference in the memory of ``y``."""
    return y.add_(x) if overwrites() else x + y
