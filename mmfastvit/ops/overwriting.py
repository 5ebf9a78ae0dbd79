"""Maps whose memory is used again, in inference.

A new map would cost more time than most operations on it: the system finds memory
for large ones anew, and clears it, each time.
"""
import torch
from torch import Tensor

from .functions import add


@add.faster(takes=lambda x, y, inplace=False: (
    inplace and overwrites() and x.shape == y.shape and x.dtype == y.dtype))
def _add(x: Tensor, y: Tensor, inplace: bool = False) -> Tensor:
    return y.add_(x)


def overwrites() -> bool:
    """Whether no backward pass needs what is overwritten."""
    return not torch.is_grad_enabled()
