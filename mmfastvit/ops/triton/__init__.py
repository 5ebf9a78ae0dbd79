"""Kernels for GPUs, in Triton, which comes with PyTorch where it knows GPUs."""
from importlib.util import find_spec

from ..library import HAS_LIBRARY

if HAS_LIBRARY and find_spec('triton'):
    from . import convolution, feed_forward, stem  # noqa: F401  registers them
