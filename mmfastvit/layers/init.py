"""Weight initialisation of the reference code."""
from typing import Union

from torch import nn


def truncated_normal_(op: Union[nn.Conv2d, nn.Linear]) -> None:
    """Draw weights from a normal of deviation 0.02 cut at ±2, zero the bias."""
    nn.init.trunc_normal_(op.weight, std=0.02)
    if op.bias is not None:
        nn.init.zeros_(op.bias)
