"""What may be saved where no backward pass and no tracer looks on."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .compiling import is_traced


def overwrites() -> bool:
    """Whether intermediate maps may be overwritten."""
    return not (torch.is_grad_enabled() or is_traced())


def gelu(x: Tensor) -> Tensor:
    """Return the exact GELU, in inference in the memory of ``x``.

    A new map would cost more time than the GELU: the system finds memory for
    large ones anew, and clears it, each time.
    """
    return torch.ops.aten.gelu_(x) if overwrites() else F.gelu(x)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y, in inference in the memory of ``y``."""
    return y.add_(x) if overwrites() else x + y
