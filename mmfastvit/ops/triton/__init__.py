"""Kernels for GPUs, in Triton, which comes with PyTorch where it knows GPUs."""
from importlib.util import find_spec

if find_spec('triton'):
    from . import convolution, feed_forward, stem  # noqa: F401  registers them
