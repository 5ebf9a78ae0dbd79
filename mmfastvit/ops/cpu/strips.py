"""A network's first layers, some rows of the image at a time.

Their maps are the largest of all, and short-lived. In strips they stay in the
caches: to find memory for a map of 64 channels at half the image's size takes
longer than to compute it. In training only the image is saved, and the backward
pass computes a strip's maps again.
"""
from collections.abc import Iterator, Sequence
from math import ceil, prod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..dispatch import is_cpu, twice_differentiable
from ..functions import conv_stem, stem_convs, widen
from ..gelu_backward import gelu_backward_
from ..layouts import by_pixel, gelu_, is_channels_last
from ..library import operator

STRIP = 2**21  # values of the largest map in one strip: 8 MB


def _takes(x: Tensor, act: str, strides: Sequence[int], parameters: Sequence[Tensor]
           ) -> bool:
    return is_cpu(x) and not x.requires_grad and is_large(x, parameters[0], strides[0])


def is_large(x: Tensor, kernel: Tensor, stride: int) -> bool:
    """Whether the map of the first convolution fills more than a strip."""
    return x.numel() * _growth(kernel, stride) > STRIP


def _growth(kernel: Tensor, stride: int) -> float:
    """Return the values of that map for each of the image."""
    return len(kernel) / kernel.shape[1] / stride**2


@conv_stem.faster(takes=_takes)
def _in_strips(x: Tensor, act: str, strides: Sequence[int],
               parameters: Sequence[Tensor]) -> Tensor:
    return _InStrips.apply(x, act, strides, *parameters)


def _compute(x: Tensor, act: str, strides: Sequence[int],
             parameters: Sequence[Tensor]) -> Tensor:
    out = _new_map(x, act, strides, parameters)
    for images, rows, seen, above in cut(x, parameters[0], strides):
        for kernel, bias, options in stem_convs(x, strides, parameters):
            seen = F.conv2d(seen, kernel, bias, *options)
            seen = activate_(seen, act)
        out[images, :, rows] = seen[:, :, above:]
    return out


def _new_map(x: Tensor, act: str, strides: Sequence[int], parameters: Sequence[Tensor]
             ) -> Tensor:
    height, width = x.shape[2:]
    for stride in strides:
        height, width = ((side + stride - 1) // stride for side in (height, width))
    by_pixel = is_channels_last(x) or is_channels_last(parameters[0])
    return torch.empty(
        (len(x), len(parameters[-1]), height, width), dtype=x.dtype, device=x.device,
        memory_format=torch.channels_last if by_pixel else torch.contiguous_format)


@torch.autocast('cpu', enabled=False)  # as in the forward pass
def _gradients(grad: Tensor, x: Tensor, act: str, strides: Sequence[int],
               parameters: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    """Return those of the parameters; of those that are not needed, zeros."""
    totals = [torch.zeros_like(widen(p)) for p in parameters]
    for images, rows, seen, above in cut(x, parameters[0], strides):
        convs = list(stem_convs(x, strides, parameters))
        given, after = zip(*_layers(seen, act, strides, parameters))
        of_map = torch.zeros_like(after[-1])
        of_map[:, :, above:] = grad[images, :, rows]
        for i in reversed(range(len(convs))):
            kernel, bias, options = convs[i]
            stride, padding, dilation, groups = options
            if not any(needed[:2 * i + 2]):
                break
            of_map = activation_gradient(of_map, after[i], act)
            of_map, *found = torch.ops.aten.convolution_backward(
                of_map, given[i], kernel, [len(bias)], stride, padding, dilation,
                False, (0, 0), groups, (i > 0, *needed[2 * i:2 * i + 2]))
            for total, part in zip(totals[2 * i:], found):
                if part is not None:
                    total += part
    return [total.to(p.dtype) for total, p in zip(totals, parameters)]


def _layers(x: Tensor, act: str, strides: Sequence[int], parameters: Sequence[Tensor]
            ) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield of each convolution what it is given, and what it returns."""
    out = None
    for kernel, bias, options in stem_convs(x, strides, parameters):
        given = x if out is None else activate(out, act)
        out = F.conv2d(given, kernel, bias, *options)
        yield given, out


def activate(x: Tensor, act: str) -> Tensor:
    """Return the act of a map."""
    return by_pixel(F.gelu, x) if act == 'gelu' else F.relu(x)


def activate_(x: Tensor, act: str) -> Tensor:
    """Overwrite a map with its act."""
    return gelu_(x) if act == 'gelu' else x.relu_()


def activation_gradient(grad: Tensor, x: Tensor, act: str) -> Tensor:
    """Return the gradient of ``x``; ``grad`` may be overwritten."""
    if act == 'gelu':
        return gelu_backward_(grad, x)
    return torch.ops.aten.threshold_backward(grad, x, 0)


class _InStrips(Function):

    @staticmethod
    def forward(ctx, x, act, strides, *parameters):
        ctx.options = act, strides
        ctx.save_for_backward(x, *parameters)
        return _compute(x, act, strides, parameters)

    @staticmethod
    def inputs(ctx):
        x, *parameters = ctx.saved_tensors
        return x, None, None, *parameters

    @staticmethod
    def plain(ctx, x, _, __, *parameters):
        return conv_stem.plain(x, *ctx.options, parameters)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, *parameters = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        found = _gradients(grad, x, *ctx.options, parameters, needed)
        return None, None, None, *(g if wanted else None
                                   for g, wanted in zip(found, needed))


def _save(ctx, inputs, output) -> None:
    x, act, strides, parameters = inputs
    ctx.options = act, strides
    ctx.save_for_backward(x, *parameters)


@operator(fake=lambda grad, x, act, strides, parameters: [
    torch.empty_like(p) for p in parameters])
def conv_stem_backward(grad: Tensor, x: Tensor, act: str, strides: Sequence[int],
                       parameters: Sequence[Tensor]) -> list[Tensor]:
    return _gradients(grad, x, act, strides, parameters, [True] * len(parameters))


def _backward(ctx, grad):
    x, *parameters = ctx.saved_tensors
    return None, None, None, torch.ops.mmfastvit.conv_stem_backward(
        grad, x, *ctx.options, parameters)


@operator(_new_map, _save, _backward)
def conv_stem_in_strips(x: Tensor, act: str, strides: Sequence[int],
                        parameters: Sequence[Tensor]) -> Tensor:
    return _compute(x, act, strides, parameters)


@conv_stem.compiled(takes=_takes)
def _as_operator(x: Tensor, act: str, strides: Sequence[int],
                 parameters: Sequence[Tensor]) -> Tensor:
    return torch.ops.mmfastvit.conv_stem_in_strips(x, act, list(strides),
                                                   list(parameters))


def cut(x: Tensor, kernel: Tensor, strides: Sequence[int]
        ) -> Iterator[tuple[slice, slice, Tensor, int]]:
    """Yield which images and rows of the result, and what those are made of.

    Args:
        x: Images (B, C, H, W).
        kernel: Of the first convolution, which makes the largest map.
        strides: Of all of them, up to the result.

    Yields:
        Images; rows of the result; the part of ``x`` that they see; how many
        rows above them come out of it, too, wrong ones for want of what is
        further up.
    """
    stride = prod(strides)
    # Of a strip, that one image fills.
    share = x[0].numel() * _growth(kernel, strides[0]) / STRIP
    number = max(1, int(1 / share))
    height = ceil(x.shape[2] / stride)
    size = ceil(height / ceil(share))
    for first in range(0, len(x), number):
        images = slice(first, first + number)
        for start in range(0, height, size):
            above = min(start, 1)
            seen = x[images, :, (start - above) * stride:(start + size) * stride]
            yield images, slice(start, start + size), seen, above
