"""fc2(gelu(fc1(x))), of narrow blocks in one kernel.

There the hidden map never reaches the memory. In half precision, wide blocks are two
matrix products, which take a third of the time of 1x1 convolutions. In training nothing
but the input is saved, and the backward pass computes the hidden map again.
"""
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function

from .. import functions
from ..dispatch import twice_differentiable
from ..gelu_backward import gelu_backward_
from ..layouts import rows
from ..library import operator
from ..precision import compute_dtype, in_autocast
from . import choice
from .gelu import gelu_of

MAX_CHANNELS = 128  # up to which one kernel is faster than two products
PIXELS, HIDDEN = 64, 32  # of a program


def _takes(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
           bias_2: Tensor, inplace: bool = False) -> bool:
    return (choice.kernels_take(x, kernel_1, bias_1, kernel_2, bias_2)
            and x.numel() >= choice.LARGE and choice.multiplies_as_pytorch(x)
            and (compute_dtype(x) != torch.float32 or _is_narrow(x, kernel_2)))


def _is_narrow(x: Tensor, kernel_2: Tensor) -> bool:
    return max(x.shape[1], len(kernel_2)) <= MAX_CHANNELS


@functions.feed_forward.faster(takes=_takes)
def _in_one(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
           bias_2: Tensor, inplace: bool = False) -> Tensor:
    return _FeedForward.apply(*in_autocast(
        x, kernel_1.flatten(1), bias_1, kernel_2.flatten(1), bias_2))


@functions.feed_forward.compiled(takes=_takes)
def _as_operator(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                 bias_2: Tensor, inplace: bool = False) -> Tensor:
    return torch.ops.mmfastvit.triton_feed_forward(*in_autocast(
        x, kernel_1.flatten(1), bias_1, kernel_2.flatten(1), bias_2))


def compute(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
            bias_2: Tensor) -> Tensor:
    """Map (B, C, H, W) -> (B, C', H, W), both in channels_last.

    Args:
        x: The map.
        kernel_1: (hidden, C).
        bias_1: (hidden,).
        kernel_2: (C', hidden).
        bias_2: (C',).
    """
    if _is_narrow(x, kernel_2):
        return fused(x, kernel_1, bias_1, kernel_2, bias_2)
    hidden = torch.ops.aten.gelu_(F.linear(x.permute(0, 2, 3, 1), kernel_1, bias_1))
    return F.linear(hidden, kernel_2, bias_2).permute(0, 3, 1, 2)


def fused(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
          bias_2: Tensor) -> Tensor:
    """:func:`compute` in one kernel."""
    b, c, h, w = x.shape
    hidden, channels = len(kernel_1), len(kernel_2)
    out = torch.empty((b, channels, h, w), dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    padded = max(16, triton.next_power_of_2(max(c, channels)))
    with torch.cuda.device_of(x):
        _feed_forward[triton.cdiv(b * h * w, PIXELS), ](
            x, kernel_1.contiguous(), bias_1.contiguous(), kernel_2.contiguous(),
            bias_2.contiguous(), out, b * h * w, c, hidden, channels, padded, PIXELS,
            HIDDEN, 'tf32' if x.dtype == torch.float32 else 'ieee')
    return out


class _FeedForward(Function):

    @staticmethod
    def forward(ctx, *tensors):
        ctx.save_for_backward(*tensors)
        return compute(*tensors)

    @staticmethod
    def inputs(ctx):
        return ctx.saved_tensors

    @staticmethod
    def plain(ctx, x, kernel_1, bias_1, kernel_2, bias_2):
        return functions.feed_forward.plain(
            x, kernel_1[:, :, None, None], bias_1, kernel_2[:, :, None, None], bias_2)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        return _backward(ctx, grad)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    x, kernel_1, bias_1, kernel_2, _ = ctx.saved_tensors
    needs_x, needs_kernel_1, needs_bias_1, needs_kernel_2, needs_bias_2 = \
        ctx.needs_input_grad
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    pixels, of_out = rows(x), rows(grad)
    with torch.autocast(x.device.type, enabled=False):  # as in the forward pass
        hidden = F.linear(pixels, kernel_1, bias_1)
        grad_2 = of_out.t() @ F.gelu(hidden) if needs_kernel_2 else None
        of_hidden = gelu_backward_(of_out @ kernel_2, hidden)
        grad_x = None
        if needs_x:
            b, _, h, w = x.shape
            grad_x = (of_hidden @ kernel_1).view(b, h, w, -1).permute(0, 3, 1, 2)
        return (grad_x, of_hidden.t() @ pixels if needs_kernel_1 else None,
                of_hidden.sum(0) if needs_bias_1 else None, grad_2,
                of_out.sum(0) if needs_bias_2 else None)


@operator(lambda x, kernel_1, bias_1, kernel_2, bias_2: torch.empty(
    (x.shape[0], kernel_2.shape[0], *x.shape[2:]), dtype=x.dtype, device=x.device,
    memory_format=torch.channels_last), _save, _backward)
def triton_feed_forward(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                        bias_2: Tensor) -> Tensor:
    return compute(x, kernel_1, bias_1, kernel_2, bias_2)


@triton.jit
def _feed_forward(x, kernel_1, bias_1, kernel_2, bias_2, out, all_pixels,
                  c: tl.constexpr, hidden: tl.constexpr, out_c: tl.constexpr,
                  padded: tl.constexpr, pixels: tl.constexpr, chunk: tl.constexpr,
                  precision: tl.constexpr):
    pixel = tl.program_id(0).to(tl.int64) * pixels + tl.arange(0, pixels)
    channel = tl.arange(0, padded)
    inside = (pixel < all_pixels)[:, None]
    values = tl.load(x + pixel[:, None] * c + channel[None, :],
                     inside & (channel < c)[None, :], 0.)
    total = tl.zeros((pixels, padded), tl.float32)
    for start in range(0, hidden, chunk):
        unit = start + tl.arange(0, chunk)
        is_unit = unit < hidden
        first = tl.load(kernel_1 + unit[None, :] * c + channel[:, None],
                        is_unit[None, :] & (channel < c)[:, None], 0.)
        activation = tl.dot(values, first, input_precision=precision)
        activation += tl.load(bias_1 + unit, is_unit, 0.)[None, :].to(tl.float32)
        activation = gelu_of(activation).to(x.dtype.element_ty)
        second = tl.load(kernel_2 + channel[None, :] * hidden + unit[:, None],
                         is_unit[:, None] & (channel < out_c)[None, :], 0.)
        total = tl.dot(activation, second, total, input_precision=precision)
    is_channel = channel < out_c
    total += tl.load(bias_2 + channel, is_channel, 0.)[None, :].to(tl.float32)
    tl.store(out + pixel[:, None] * out_c + channel[None, :],
             total.to(out.dtype.element_ty), inside & is_channel[None, :])
