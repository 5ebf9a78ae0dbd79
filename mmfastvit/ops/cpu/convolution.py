"""Depthwise convolutions as several, where oneDNN, PyTorch's CPU library, is slow."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..dispatch import is_cpu, twice_differentiable
from ..functions import conv2d
from ..layouts import is_channels_last, rows
from ..library import empty_gradients, operator

FAST_WIDTH = 3  # of the depthwise kernels that oneDNN has gradients for


def _widens(x: Tensor, kernel: Tensor, bias=None, stride=(1, 1), padding=(0, 0),
            dilation=(1, 1), groups=1) -> bool:
    return (x.device.type == 'cpu' and x.ndim == 4 and groups == x.shape[1]
            and groups > 1 and len(kernel) > groups)


@conv2d.faster(takes=_widens)
def _in_parts(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride=(1, 1),
              padding=(0, 0), dilation=(1, 1), groups: int = 1) -> Tensor:
    """One convolution for each output of a channel.

    oneDNN knows depthwise convolutions of one output a channel only, and takes two
    to four times as long for the doubled channels of FastViT's downsampling.
    """
    outputs = len(kernel) // x.shape[1]
    parts = [F.conv2d(x, kernel[i::outputs], None if bias is None else
                      bias[i::outputs], stride, padding, dilation, groups)
             for i in range(outputs)]
    # The outputs of one channel are neighbours; so they are put together where
    # channels are, in memory, too.
    if is_channels_last(parts[0]):
        parts = [part.permute(0, 2, 3, 1) for part in parts]
        return torch.stack(parts, 4).flatten(3).permute(0, 3, 1, 2)
    return torch.stack(parts, 2).flatten(1, 2)


def _is_slow_backward(x: Tensor, kernel: Tensor, bias=None, stride=(1, 1),
                      padding=(0, 0), dilation=(1, 1), groups=1) -> bool:
    return (is_cpu(x) and torch.is_grad_enabled() and is_channels_last(x)
            and groups == x.shape[1] == len(kernel) and stride == dilation == (1, 1)
            and kernel.shape[3] > FAST_WIDTH
            and tuple(2 * p + 1 for p in padding) == kernel.shape[2:])


@conv2d.faster(takes=_is_slow_backward)
def _with_fast_gradients(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
                         stride=(1, 1), padding=(0, 0), dilation=(1, 1),
                         groups: int = 1) -> Tensor:
    return _Depthwise.apply(x, kernel, bias, padding)


class _Depthwise(Function):
    """A depthwise convolution of stride 1 that keeps the size of its map.

    In channels_last, gradients of 7x7 kernels take oneDNN twice as long as those of
    the strips, 7x3, that they can be cut into, and the map's gradient longer than a
    convolution with the kernel turned round, which it is.
    """

    @staticmethod
    def forward(ctx, x, kernel, bias, padding):
        ctx.padding = padding
        ctx.save_for_backward(x, kernel, bias)
        return F.conv2d(x, kernel, bias, padding=padding, groups=len(kernel))

    @staticmethod
    def inputs(ctx):
        return *ctx.saved_tensors, None

    @staticmethod
    def plain(ctx, x, kernel, bias, _):
        return F.conv2d(x, kernel, bias, padding=ctx.padding, groups=len(kernel))

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, kernel, _ = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        found = _gradients(grad, x, kernel, ctx.padding, needed)
        return *(g if wanted else None for g, wanted in zip(found, needed)), None


@torch.autocast('cpu', enabled=False)  # as in the forward pass
def _gradients(grad: Tensor, x: Tensor, kernel: Tensor, padding: Sequence[int],
               needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Return those of x, kernel and bias; of those that are not needed, nothing."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    return (F.conv2d(grad, kernel.flip(2, 3), padding=padding, groups=len(kernel))
            if needed[0] else grad.new_empty(0),
            _kernel_gradient(grad, x, kernel, padding) if needed[1]
            else grad.new_empty(0),
            rows(grad).sum(0) if needed[2] else grad.new_empty(0))


def _kernel_gradient(grad: Tensor, x: Tensor, kernel: Tensor,
                     padding: Sequence[int]) -> Tensor:
    """Return the gradient of a depthwise kernel, from strips of it."""
    def gradient(seen, strip, padding):
        return torch.ops.aten.convolution_backward(
            grad, seen, strip, None, (1, 1), padding, (1, 1), False, (0, 0),
            len(kernel), [False, True, False])[1]

    width = kernel.shape[3]
    if min(x.shape[2:]) < width:  # too small for oneDNN
        return gradient(x, kernel, padding)
    strips = []
    for start in range(0, width, FAST_WIDTH):
        strip = kernel[..., start:start + FAST_WIDTH]
        left = padding[1] - start  # of the strip, at its own place in the kernel
        seen = _pad_width(x, left, strip.shape[3] - 1 - left)
        strips.append(gradient(seen, strip, (padding[0], 0)))
    return torch.cat(strips, 3)


def _pad_width(x: Tensor, left: int, right: int) -> Tensor:
    """Pad with zeros, or crop; ``F.pad`` would write the whole map twice."""
    by_pixel = x.permute(0, 2, 3, 1)
    b, h, w, c = by_pixel.shape
    before, after = (by_pixel.new_zeros((b, h, max(0, width), c))
                     for width in (left, right))
    inside = by_pixel[:, :, max(0, -left):w + min(0, right)]
    return torch.cat([before, inside, after], 2).permute(0, 3, 1, 2)


@operator(fake=lambda grad, x, kernel, padding, needed: empty_gradients(
    grad, x, kernel, needed))
def depthwise_backward(grad: Tensor, x: Tensor, kernel: Tensor, padding: Sequence[int],
                       needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_kernel, of_bias = _gradients(grad, x, kernel, padding, needed)
    return of_x, of_kernel.contiguous(), of_bias


def _save(ctx, inputs, output) -> None:
    x, kernel, _, ctx.padding = inputs
    ctx.save_for_backward(x, kernel)


def _backward(ctx, grad):
    needed = ctx.needs_input_grad[:3]
    found = torch.ops.mmfastvit.depthwise_backward(grad, *ctx.saved_tensors,
                                                   ctx.padding, needed)
    return *(g if wanted else None for g, wanted in zip(found, needed)), None


@operator(lambda x, kernel, bias, padding: torch.empty_like(
    x, memory_format=torch.channels_last), _save, _backward)
def depthwise(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: Sequence[int]
              ) -> Tensor:
    return F.conv2d(x, kernel, bias, padding=padding, groups=len(kernel))


conv2d.compiled(takes=_widens)(_in_parts)


@conv2d.compiled(takes=_is_slow_backward)
def _as_operator(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride=(1, 1),
                 padding=(0, 0), dilation=(1, 1), groups: int = 1) -> Tensor:
    return torch.ops.mmfastvit.depthwise(x, kernel, bias, list(padding))
