"""Depthwise convolutions in channels_last, slow in PyTorch's own libraries for GPUs."""
import torch
from torch import Tensor
from torch.autograd import Function

from ..dispatch import twice_differentiable
from ..functions import conv2d
from ..layouts import is_channels_last
from . import depthwise


def _takes(x: Tensor, kernel: Tensor, bias=None, stride=(1, 1), padding=(0, 0),
           dilation=(1, 1), groups=1) -> bool:
    return (x.is_cuda and is_channels_last(x) and x.numel() > 0
            and groups == x.shape[1] == len(kernel) and stride == dilation == (1, 1)
            and x.dtype == kernel.dtype and not torch.is_autocast_enabled()
            and tuple(2 * p + 1 for p in padding) == kernel.shape[2:])


@conv2d.faster(takes=_takes)
def _depthwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride=(1, 1),
               padding=(0, 0), dilation=(1, 1), groups: int = 1) -> Tensor:
    return _Depthwise.apply(x, kernel, bias, padding)


class _Depthwise(Function):

    @staticmethod
    def forward(ctx, x, kernel, bias, padding):
        ctx.padding = padding
        ctx.save_for_backward(x, kernel, bias)
        return depthwise.convolve(x, kernel, bias)

    @staticmethod
    def inputs(ctx):
        return *ctx.saved_tensors, None

    @staticmethod
    def plain(ctx, x, kernel, bias, _):
        return conv2d.plain(x, kernel, bias, padding=ctx.padding, groups=len(kernel))

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, kernel, bias = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        needs_x, needs_kernel, needs_bias, _ = ctx.needs_input_grad
        return (depthwise.convolve(grad, kernel.flip(2, 3)) if needs_x else None,
                depthwise.kernel_gradient(grad, x, kernel) if needs_kernel else None,
                grad.sum((0, 2, 3)) if needs_bias else None, None)
