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
    if not overwrites():
        return F.gelu(x)
    if x.is_contiguous(memory_format=torch.channels_last):
        # PyTorch calls oneDNN's GELU, the faster one, for what it sees as contiguous.
        torch.ops.aten.gelu_(x.permute(0, 2, 3, 1).view(-1))
        return x
    return torch.ops.aten.gelu_(x)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y, in inference in the memory of ``y``."""
    return y.add_(x) if overwrites() else x + y
