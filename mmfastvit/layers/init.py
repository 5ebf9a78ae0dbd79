"""Weight initialisation of the reference code."""

from torch import nn


def truncated_normal_(op: nn.Conv2d | nn.Linear) -> None:
    """Draw weights from a normal of deviation 0.02 cut at ±2, zero the bias."""
    nn.init.trunc_normal_(op.weight, std=0.02)
    if op.bias is not None:
        nn.init.zeros_(op.bias)
