"""The fusion algebra: every way two affine operations become one.

Pure, differentiable functions on tensors; the layers, ``reparameterize`` and
the checkpoint conversion all fold with them. A kernel is (out, in / groups, k,
k), or (out, in) for a linear layer; a bias is (out,) or None. Low-precision
parameters are folded in float32: the result is at least float32, whatever
autocast says, and the caller casts it back.

``norm`` is a batch norm, a :class:`FixedNorm`, or an ``nn.Identity`` where a toolbox
has folded the norm already.
"""
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.ops import widen

Affine = tuple[Tensor, Tensor]  # kernel, bias


class FixedNorm(NamedTuple):
    """What a batch norm computes with, (C,); or several norms, as rows (norms, C)."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float | Tensor  # of several, one number or a column (norms, 1)
    running_mean: Tensor
    running_var: Tensor


def norm_scale_shift(norm) -> Affine:
    """Return ``scale`` and ``shift``, (C,) or rows, of norm(x) = scale * x + shift."""
    scale = (widen(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * widen(norm.weight)
    mean = widen(norm.running_mean)
    if norm.bias is None:
        return scale, -mean * scale
    return scale, torch.addcmul(widen(norm.bias), mean, scale, value=-1)


def fold_scale(kernel: Tensor, bias: Tensor | None, scale: Tensor) -> Affine:
    """Fold a factor (out,) on the output, such as a layer scale."""
    scale = widen(scale)
    bias = torch.zeros_like(scale) if bias is None else widen(bias) * scale
    return _scale_outputs(kernel, scale), bias


def fold_norm_after(kernel: Tensor, bias: Tensor | None, norm) -> Affine:
    """Fold norm(conv(x)): the convolution comes first."""
    if isinstance(norm, nn.Identity):
        kernel = widen(kernel)
        return kernel, kernel.new_zeros(len(kernel)) if bias is None else widen(bias)
    scale, shift = norm_scale_shift(norm)
    if bias is not None:
        shift = torch.addcmul(shift, widen(bias), scale)
    return _scale_outputs(kernel, scale), shift


def fold_sum(parts: Sequence[Affine]) -> Affine:
    """Fold conv(x) + conv'(x) + …, their kernels of odd sizes."""
    size = max(kernel.shape[-1] for kernel, _ in parts)
    kernels, biases = zip(*((pad_kernel(kernel, size), bias)
                            for kernel, bias in parts))
    return reduce(torch.add, kernels), reduce(torch.add, biases)


def fold_norm_before(kernel: Tensor, bias: Tensor | None, norm) -> Affine:
    """Fold linear(norm(x)), kernel (out, in).

    Not for kernels that pad: the norm's shift would have to reach the zeros.
    """
    if isinstance(norm, nn.Identity):
        return fold_norm_after(kernel, bias, norm)
    return fold_affine_before(kernel, bias, *norm_scale_shift(norm))


def fold_affine_before(kernel: Tensor, bias: Tensor | None, scale: Tensor,
                       shift: Tensor) -> Affine:
    """Fold linear(scale * x + shift), kernel (out, in), scale and shift (in,)."""
    kernel, scale, shift = map(widen, (kernel, scale, shift))
    # Not a matmul: autocast would run that in low precision.
    offset = (kernel * shift).sum(1)
    return kernel * scale, offset if bias is None else widen(bias) + offset


def identity_kernel(kernel: Tensor) -> Tensor:
    """Return the kernel, shaped like ``kernel``, that passes its input on."""
    out_channels, in_channels_per_group, size, _ = kernel.shape
    eye = torch.eye(in_channels_per_group, device=kernel.device,
                    dtype=widen(kernel).dtype)
    groups = out_channels // in_channels_per_group
    identity = eye.expand(groups, -1, -1).reshape(-1, in_channels_per_group, 1, 1)
    return pad_kernel(identity, size)


def _scale_outputs(kernel: Tensor, scale: Tensor) -> Tensor:
    return widen(kernel) * scale.view(-1, *[1] * (kernel.ndim - 1))


def pad_kernel(kernel: Tensor, size: int) -> Tensor:
    """Centre an odd-sized kernel in zeros, ``size`` wide and high."""
    margin = (size - kernel.shape[-1]) // 2
    return F.pad(kernel, [margin] * 4) if margin else kernel
