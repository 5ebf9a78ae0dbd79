"""GELU by the faster kernel, and computed again in the backward pass."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .dispatch import current_autocast, twice_differentiable
from .functions import (
    conv_stem,
    feed_forward,
    gelu,
    gelu_conv2d,
    pick,
    stem_convs,
    stem_maps,
)
from .gelu_backward import gelu_backward, gelu_backward_
from .layouts import by_pixel, gelu_
from .overwriting import overwrites


@gelu.faster(takes=lambda x, inplace=False: True)
def _gelu(x: Tensor, inplace: bool = False) -> Tensor:
    if not overwrites():
        return _GELU.apply(x)
    return gelu_(x) if inplace else by_pixel(F.gelu, x)


@gelu_conv2d.faster(takes=lambda *args, **kwargs: True)
def _gelu_conv2d(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
                 stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups: int = 1,
                 inplace: bool = False) -> Tensor:
    """The output of GELU, the widest map of a block, is not kept."""
    if overwrites():
        return F.conv2d(gelu(x, inplace), kernel, bias, stride, padding, dilation,
                        groups)
    return _GELUConv2d.apply(x, kernel, bias, stride, padding, dilation, groups)


@feed_forward.faster(takes=lambda *args, **kwargs: True)
def _feed_forward(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                  bias_2: Tensor, inplace: bool = False) -> Tensor:
    return gelu_conv2d(F.conv2d(x, kernel_1, bias_1), kernel_2, bias_2, inplace=True)


@conv_stem.faster(takes=lambda *_: True)
def _conv_stem(x: Tensor, act: str, strides: Sequence[int],
               parameters: Sequence[Tensor]) -> Tensor:
    for i, (kernel, bias, options) in enumerate(stem_convs(x, strides, parameters)):
        if act == 'gelu' and i > 0:
            x = gelu_conv2d(x, kernel, bias, *options, inplace=True)
        else:
            x = F.conv2d(x, kernel, bias, *options)
        if act == 'relu':
            x = x.relu_()
    return gelu(x, inplace=True) if act == 'gelu' else x


@stem_maps.faster(takes=lambda *_: True)
def _stem_maps(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
               picks: bool) -> tuple[Tensor, ...]:
    x = F.conv2d(x, kernel_1, bias_1, 2, 1)
    x = gelu(x, inplace=True) if act == 'gelu' else x.relu_()
    out = F.conv2d(x, kernel_2, None, 2, 1, 1, len(kernel_1) // kernel_2.shape[1])
    return (out, pick(x, (2, 2))) if picks else (out, )


class _GELU(Function):

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return by_pixel(F.gelu, x)

    @staticmethod
    def inputs(ctx):
        return ctx.saved_tensors

    @staticmethod
    def plain(ctx, x):
        return gelu.plain(x)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        return gelu_backward(grad, x)


class _GELUConv2d(Function):

    @staticmethod
    def forward(ctx, x, kernel, bias, *options):
        ctx.options, ctx.autocast = options, current_autocast(x)
        ctx.save_for_backward(x, kernel, bias)
        return F.conv2d(by_pixel(F.gelu, x), kernel, bias, *options)

    @staticmethod
    def inputs(ctx):
        return *ctx.saved_tensors, *[None] * len(ctx.options)

    @staticmethod
    def plain(ctx, x, kernel, bias, *_):
        return gelu_conv2d.plain(x, kernel, bias, *ctx.options)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, kernel, bias = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        # Autocast may have run the convolution in another dtype than x's.
        activation = by_pixel(F.gelu, x).to(grad.dtype)
        kernel = kernel.to(grad.dtype)
        grad_x, grad_kernel, grad_bias = torch.ops.aten.convolution_backward(
            grad, activation, kernel, None if bias is None else [len(kernel)], stride,
            padding, dilation, False, (0, 0), groups, ctx.needs_input_grad[:3])
        if grad_x is not None:
            grad_x = gelu_backward_(grad_x.to(x.dtype), x)
        return grad_x, grad_kernel, grad_bias, *[None] * len(ctx.options)
