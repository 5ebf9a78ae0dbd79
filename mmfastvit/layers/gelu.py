"""GELU, and the convolution after it, saving only what is before both."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .channels_last import by_pixel
from .compiling import is_compiling, is_traced
from .inference import overwrites


def gelu(x: Tensor) -> Tensor:
    """Return the exact GELU of (B, C, H, W), in inference in the memory of ``x``."""
    if overwrites():
        by_pixel(torch.ops.aten.gelu_, x)
        return x
    return F.gelu(x) if is_traced() else _GELU.apply(x)


def gelu_backward_(grad: Tensor, x: Tensor) -> Tensor:
    """Return GELU'(x) * grad, both of one shape; ``grad`` may be overwritten."""
    def overwrite(grad, x):
        return torch.ops.aten.gelu_backward.grad_input(grad, x, grad_input=grad)

    return by_pixel(overwrite, _laid_out_like(x, grad), x)


def _laid_out_like(x: Tensor, grad: Tensor) -> Tensor:
    """Return ``grad`` in the memory format of ``x``.

    Of any other, torch 2.1 computes a wrong gradient of GELU without a word
    (guarded by tests/test_layers.py).
    """
    return grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)


class _GELU(Function):

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return by_pixel(F.gelu, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        return by_pixel(torch.ops.aten.gelu_backward, _laid_out_like(x, grad), x)


def gelu_conv2d(x: Tensor, kernel: Tensor, bias: Tensor,
                stride: tuple[int, int] = (1, 1),
                padding: tuple[int, int] = (0, 0), groups: int = 1) -> Tensor:
    """Return conv2d(gelu(x)), (B, C, H, W) -> (B, C', H', W').

    The backward pass computes the exact GELU again, which is cheap; its
    output, the widest map of a block, would be dear to keep.

    Args:
        kernel: (C', C / groups, k, k).
        bias: (C',).
    """
    if is_compiling() or not torch.is_grad_enabled():
        return F.conv2d(gelu(x), kernel, bias, stride, padding, groups=groups)
    return _GELUConv2d.apply(x, kernel, bias, stride, padding, groups)


class _GELUConv2d(Function):

    @staticmethod
    def forward(ctx, x, kernel, bias, stride, padding, groups):
        ctx.options = stride, padding, groups
        ctx.save_for_backward(x, kernel)
        return F.conv2d(by_pixel(F.gelu, x), kernel, bias, stride, padding,
                        groups=groups)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, kernel = ctx.saved_tensors
        stride, padding, groups = ctx.options
        # Autocast may have run the convolution in another dtype than x's.
        activation = by_pixel(F.gelu, x).to(grad.dtype)
        kernel = kernel.to(grad.dtype)
        grad_x, grad_kernel, grad_bias = torch.ops.aten.convolution_backward(
            grad, activation, kernel, [len(kernel)], stride, padding, (1, 1),
            False, (0, 0), groups, ctx.needs_input_grad[:3])
        if grad_x is not None:
            grad_x = gelu_backward_(grad_x.to(x.dtype), x)
        return grad_x, grad_kernel, grad_bias, None, None, None
