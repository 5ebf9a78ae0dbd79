"""Kernels for GPUs, in Triton.

No GPU has run them yet: they stand in for PyTorch's operators where the environment
variable ``MMFASTVIT_TRITON=1`` asks for that.
"""
import os
from importlib.util import find_spec

if os.environ.get('MMFASTVIT_TRITON', '0') != '0' and find_spec('triton'):
    from . import convolution  # noqa: F401  registers it
