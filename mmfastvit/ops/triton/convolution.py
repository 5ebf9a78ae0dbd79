"""Depthwise convolutions in channels_last, where PyTorch's libraries are slow."""
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Function

from ..dispatch import twice_differentiable
from ..functions import conv2d
from ..library import empty_gradients, operator
from ..precision import in_autocast
from . import choice, depthwise


def _takes(x: Tensor, kernel: Tensor, bias=None, stride=(1, 1), padding=(0, 0),
           dilation=(1, 1), groups=1) -> bool:
    return (choice.kernels_take(x, kernel) and groups == x.shape[1] > 1
            and tuple(dilation) == (1, 1) and choice.fits(x.shape, len(kernel))
            and tuple(2 * p + 1 for p in padding) == kernel.shape[2:]
            and (x.numel() >= choice.LARGE or len(kernel) > groups))


@conv2d.faster(takes=_takes)
def _depthwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride=(1, 1),
               padding=(0, 0), dilation=(1, 1), groups: int = 1) -> Tensor:
    return _Depthwise.apply(*in_autocast(x, kernel, bias), stride)


@conv2d.compiled(takes=_takes)
def _as_operator(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride=(1, 1),
                 padding=(0, 0), dilation=(1, 1), groups: int = 1) -> Tensor:
    return torch.ops.mmfastvit.triton_depthwise(*in_autocast(x, kernel, bias),
                                                list(stride))


class _Depthwise(Function):

    @staticmethod
    def forward(ctx, x, kernel, bias, stride):
        ctx.stride = stride
        ctx.save_for_backward(x, kernel, bias)
        return depthwise.convolve(x, kernel, bias, stride)

    @staticmethod
    def inputs(ctx):
        return *ctx.saved_tensors, None

    @staticmethod
    def plain(ctx, x, kernel, bias, _):
        padding = [side // 2 for side in kernel.shape[2:]]
        return conv2d.plain(x, kernel, bias, ctx.stride, padding, groups=x.shape[1])

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        return _backward(ctx, grad)


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.stride = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    x, kernel, _ = ctx.saved_tensors
    needed = ctx.needs_input_grad[:3]
    found = torch.ops.mmfastvit.triton_depthwise_backward(
        grad, x, kernel, list(ctx.stride), needed)
    return *(g if wanted else None for g, wanted in zip(found, needed)), None


@operator(fake=lambda grad, x, kernel, stride, needed: empty_gradients(
    grad, x, kernel, needed))
def triton_depthwise_backward(
        grad: Tensor, x: Tensor, kernel: Tensor, stride: Sequence[int],
        needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    return gradients(grad, x, kernel, stride, needed)


def gradients(grad: Tensor, x: Tensor, kernel: Tensor, stride: Sequence[int],
              needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Return those of x, kernel and bias; of those that are not needed, nothing.

    By the kernels where they were faster on an H200, else by PyTorch.
    """
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    is_wide, widens = kernel.shape[3] > 3, len(kernel) > x.shape[1]
    turns_round = is_wide and not widens and tuple(stride) == (1, 1)
    sums_up = widens or is_wide and x.dtype == torch.float32
    needs_x, needs_kernel, needs_bias = needed
    by_pytorch = torch.ops.aten.convolution_backward(
        grad, x, kernel, None, stride, [side // 2 for side in kernel.shape[2:]], (1, 1),
        False, (0, 0), x.shape[1],
        [needs_x and not turns_round, needs_kernel and not sums_up, False])
    of_x, of_kernel = by_pytorch[:2]
    if needs_x and turns_round:
        of_x = depthwise.convolve(grad, kernel.flip(2, 3))
    if needs_kernel and sums_up:
        of_kernel = depthwise.kernel_gradient(grad, x, kernel, stride)
    return (of_x.contiguous(memory_format=torch.channels_last) if needs_x
            else grad.new_empty(0),
            of_kernel.contiguous() if needs_kernel else grad.new_empty(0),
            grad.sum((0, 2, 3)) if needs_bias else grad.new_empty(0))


def _new_map(x: Tensor, kernel: Tensor, _, stride: Sequence[int]) -> Tensor:
    height, width = ((side + step - 1) // step
                     for side, step in zip(x.shape[2:], stride))
    return torch.empty((x.shape[0], kernel.shape[0], height, width), dtype=x.dtype,
                       device=x.device, memory_format=torch.channels_last)


@operator(_new_map, _save, _backward)
def triton_depthwise(x: Tensor, kernel: Tensor, bias: Tensor | None,
                     stride: Sequence[int]) -> Tensor:
    return depthwise.convolve(x, kernel, bias, stride)
