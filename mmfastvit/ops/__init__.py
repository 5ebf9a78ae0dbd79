"""Functions that mean what PyTorch's mean, computed faster where that is possible.

``functions.py`` has their plain forms, ``dispatch.py`` the rule by which a faster one
stands in. ``with ops.plain():`` runs the plain forms alone.
"""
# Of the forms that take the arguments, the one registered first runs: CPUs' come first.
from . import cpu, overwriting, picking, recomputing, statistics  # noqa: F401
from .dispatch import plain, runs_plain
from .functions import (
    add,
    conv2d,
    feed_forward,
    gelu,
    gelu_conv2d,
    in_strips,
    linear,
    moments,
    pick,
    sum_by_moments,
    widen,
)

__all__ = [
    'add', 'conv2d', 'feed_forward', 'gelu', 'gelu_conv2d', 'in_strips', 'linear',
    'moments', 'pick', 'plain', 'runs_plain', 'sum_by_moments', 'widen',
]
