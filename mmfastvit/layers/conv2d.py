"""Convolutions that are fast on CPUs where PyTorch's own are not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .compiling import is_compiling

FAST_WIDTH = 3  # of the depthwise kernels that oneDNN has gradients for


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``; two kinds of depthwise ones run as several, on CPUs.

    oneDNN, PyTorch's CPU library, knows depthwise convolutions of one output
    for each input channel only, and takes two to four times as long for the
    doubled channels of FastViT's downsampling. Gradients of 7x7 kernels take it
    twice as long as those of the strips, 7x3, that they can be cut into.
    Compilers and exporters see one convolution.
    """

    def _conv_forward(self, x: Tensor, kernel: Tensor,
                      bias: Tensor | None) -> Tensor:
        outputs = self.out_channels // self.groups
        if (self.groups != self.in_channels or x.device.type != 'cpu'
                or is_compiling() or torch.jit.is_tracing()):
            return super()._conv_forward(x, kernel, bias)
        if outputs == 1:
            if (torch.is_grad_enabled() and self.stride == (1, 1)
                    and self.kernel_size[1] > FAST_WIDTH
                    and x.dtype == kernel.dtype == torch.float32
                    and x.is_contiguous(memory_format=torch.channels_last)):
                return _WideDepthwise.apply(x, kernel, bias, self.padding)
            return super()._conv_forward(x, kernel, bias)
        parts = [super(Conv2d, self)._conv_forward(
            x, kernel[i::outputs], None if bias is None else bias[i::outputs])
            for i in range(outputs)]
        # The outputs of one channel are neighbours; so they are put together
        # where channels are, in memory, too.
        if parts[0].is_contiguous(memory_format=torch.channels_last):
            parts = [part.permute(0, 2, 3, 1) for part in parts]
            return torch.stack(parts, 4).flatten(3).permute(0, 3, 1, 2)
        return torch.stack(parts, 2).flatten(1, 2)


class _WideDepthwise(Function):
    """A depthwise convolution of stride 1, its kernel's gradient in strips."""

    @staticmethod
    def forward(ctx, x, kernel, bias, padding):
        ctx.padding, ctx.bias_shape = padding, bias if bias is None else bias.shape
        ctx.save_for_backward(x, kernel)
        return F.conv2d(x, kernel, bias, padding=padding, groups=len(kernel))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, kernel = ctx.saved_tensors
        top, left = ctx.padding
        needs_x, needs_kernel, needs_bias, _ = ctx.needs_input_grad
        grad_kernel = None
        grad_x, _, grad_bias = _backward(
            grad, x, kernel, ctx.bias_shape, ctx.padding,
            [needs_x, False, needs_bias])
        if needs_kernel:
            strips = []
            for start in range(0, kernel.shape[3], FAST_WIDTH):
                strip = kernel[..., start:start + FAST_WIDTH]
                # What the strip sees at its own place in the kernel.
                seen = F.pad(x, (left - start,
                                 start + strip.shape[3] - 1 - left))
                strips.append(_backward(grad, seen, strip, None, (top, 0),
                                        [False, True, False])[1])
            grad_kernel = torch.cat(strips, 3)
        return grad_x, grad_kernel, grad_bias, None


def _backward(grad, x, kernel, bias_shape, padding, mask):
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, bias_shape, (1, 1), padding, (1, 1), False, (0, 0),
        len(kernel), mask)
