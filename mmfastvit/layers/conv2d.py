"""Convolutions that are fast on CPUs where PyTorch's own are not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .channels_last import is_channels_last, rows
from .compiling import is_plain_cpu, is_traced

FAST_WIDTH = 3  # of the depthwise kernels that oneDNN has gradients for


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``; two kinds of depthwise ones run as several, on CPUs.

    oneDNN, PyTorch's CPU library, knows depthwise convolutions of one output
    for each input channel only, and takes two to four times as long for the
    doubled channels of FastViT's downsampling. In channels_last, gradients of
    7x7 kernels take it twice as long as those of the strips, 7x3, that they can
    be cut into, and the map's gradient longer than a convolution with the kernel
    turned round, which it is.
    Compilers and exporters see one convolution.
    """

    def _conv_forward(self, x: Tensor, kernel: Tensor,
                      bias: Tensor | None) -> Tensor:
        outputs = self.out_channels // self.groups
        if (self.groups != self.in_channels or x.device.type != 'cpu'
                or is_traced()):
            return super()._conv_forward(x, kernel, bias)
        if outputs == 1:
            if (torch.is_grad_enabled() and self.stride == (1, 1)
                    and is_plain_cpu(x) and is_channels_last(x)):
                return _Depthwise.apply(x, kernel, bias, self.padding)
            return super()._conv_forward(x, kernel, bias)
        parts = [super(Conv2d, self)._conv_forward(
            x, kernel[i::outputs], None if bias is None else bias[i::outputs])
            for i in range(outputs)]
        # The outputs of one channel are neighbours; so they are put together
        # where channels are, in memory, too.
        if is_channels_last(parts[0]):
            parts = [part.permute(0, 2, 3, 1) for part in parts]
            return torch.stack(parts, 4).flatten(3).permute(0, 3, 1, 2)
        return torch.stack(parts, 2).flatten(1, 2)


def pick(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Return every stride-th row and column of (B, C, H, W)."""
    if is_traced():
        return x[:, :, ::stride[0], ::stride[1]]
    return _Pick.apply(x, *stride)


class _Pick(Function):
    """A slice whose gradient has the memory format of its input.

    PyTorch's own is contiguous, and so would be all that is computed from it.
    """

    @staticmethod
    def forward(ctx, x, step_h, step_w):
        ctx.place = slice(None), slice(None), slice(None, None, step_h), \
            slice(None, None, step_w)
        ctx.like = torch.empty_like(x, device='meta')
        return x[ctx.place]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad_x = torch.zeros_like(ctx.like, device=grad.device)
        grad_x[ctx.place] = grad
        return grad_x, None, None


class _Depthwise(Function):
    """A depthwise convolution of stride 1 that keeps the size of its map."""

    @staticmethod
    def forward(ctx, x, kernel, bias, padding):
        ctx.padding = padding
        ctx.save_for_backward(x, kernel)
        return F.conv2d(x, kernel, bias, padding=padding, groups=len(kernel))

    @staticmethod
    @once_differentiable
    @torch.autocast('cpu', enabled=False)  # as in the forward pass
    def backward(ctx, grad):
        x, kernel = ctx.saved_tensors
        needs_x, needs_kernel, needs_bias, _ = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = F.conv2d(grad, kernel.flip(2, 3), padding=ctx.padding,
                          groups=len(kernel)) if needs_x else None
        grad_bias = rows(grad).sum(0) if needs_bias else None
        return (grad_x, _kernel_gradient(grad, x, kernel, ctx.padding)
                if needs_kernel else None, grad_bias, None)


def _kernel_gradient(grad: Tensor, x: Tensor, kernel: Tensor,
                     padding: tuple[int, int]) -> Tensor:
    """Return the gradient of a depthwise kernel, from strips of it."""
    def gradient(seen, strip, padding):
        return torch.ops.aten.convolution_backward(
            grad, seen, strip, None, (1, 1), padding, (1, 1), False, (0, 0),
            len(kernel), [False, True, False])[1]

    width = kernel.shape[3]
    if width <= FAST_WIDTH or min(x.shape[2:]) < width:  # too small for oneDNN
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
