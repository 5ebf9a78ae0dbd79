"""When Triton's kernels run."""
import os
import shutil
from collections.abc import Sequence

import torch
from torch import Tensor

from ..layouts import is_channels_last
from ..precision import compute_dtype, is_taken, multiplies_in_tf32

# Values of a map from which a kernel takes longer than Python takes to launch it.
LARGE = 2**22
LIMIT = 2**31  # values of one image, whose places kernels count in 32 bits


def kernels_take(x: Tensor, *parameters: Tensor) -> bool:
    """Whether kernels read these tensors on their device: ``x`` in channels_last."""
    return (is_taken(x, *parameters) and is_channels_last(x)
            and runs_kernels(x.device.index))


def fits(shape: Sequence[int], channels: int) -> bool:
    """Whether an image (B, C, H, W), and a result of ``channels``, can be counted."""
    _, c, h, w = shape
    return max(c, channels) * h * w < LIMIT


def multiplies_as_pytorch(x: Tensor) -> bool:
    """Whether a matrix product in a kernel is as exact as PyTorch's convolution.

    In float32, Triton's matrix products are fast in TF32 alone. Gradients would be
    PyTorch's matrix products, which are not in TF32 by default.
    """
    return compute_dtype(x) != torch.float32 or (
        multiplies_in_tf32() and not torch.is_grad_enabled())


# The compiler cannot follow it, and takes the answer of when it compiles.
@torch.compiler.assume_constant_result
def runs_kernels(device: int | None) -> bool:
    """Whether Triton can build kernels for a GPU: new enough, and with a compiler."""
    has_compiler = bool(os.environ.get('CC') or shutil.which('gcc')
                        or shutil.which('clang'))
    return (torch.version.hip is None and has_compiler
            and torch.cuda.get_device_capability(device) >= (8, 0))
