"""Functions that mean what PyTorch's mean, computed faster where that is possible.

``functions.py`` has their plain forms, ``dispatch.py`` the rule by which a faster one
stands in. ``with ops.plain():`` runs the plain forms alone.
"""
# Of the forms that take the arguments, the one registered first runs: those for one
# kind of device come first.
from . import cpu, triton  # noqa: F401

# isort: split
from . import (  # noqa: F401
    overwriting,
    picking,
    pointwise,
    recomputing,
    statistics,
    windows,
)
from .dispatch import plain, runs_plain
from .functions import (
    add,
    attention,
    conv2d,
    conv_stem,
    feed_forward,
    from_windows,
    gelu,
    gelu_conv2d,
    linear,
    mlp,
    moments,
    pick,
    stem_maps,
    sum_by_moments,
    to_windows,
    widen,
    windows_along,
)

__all__ = [
    'add', 'attention', 'conv2d', 'conv_stem', 'feed_forward', 'from_windows', 'gelu',
    'gelu_conv2d', 'linear', 'mlp', 'moments', 'pick', 'plain', 'runs_plain',
    'stem_maps', 'sum_by_moments', 'to_windows', 'widen', 'windows_along',
]
