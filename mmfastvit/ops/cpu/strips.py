"""A network's first layers, some rows of the image at a time.

Their maps are the largest of all, and short-lived. In strips they stay in the
caches: to find memory for a map of 64 channels at half the image's size takes
longer than to compute it. In training only the image is saved, and the backward
pass computes a strip's maps again.
"""
from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.autograd import Function

from ..dispatch import is_cpu, twice_differentiable
from ..functions import in_strips, widen
from ..layouts import is_channels_last

STRIP = 2**21  # values of the largest map in one strip: 8 MB


@in_strips.faster(takes=lambda layers, x, growth, *_: (
    is_cpu(x) and not x.requires_grad and x.numel() * growth > STRIP))
def _in_strips(layers, x: Tensor, growth: float, stride: int, *parameters: Tensor
               ) -> Tensor:
    return _InStrips.apply(layers, x, growth, stride, *parameters)


class _InStrips(Function):

    @staticmethod
    def forward(ctx, layers, x, growth, stride, *parameters):
        ctx.options = layers, growth, stride
        ctx.save_for_backward(x, *parameters)
        out = None
        for images, rows, seen, above in _strips(x, growth, stride):
            result = layers(seen, *parameters)[:, :, above:]
            if out is None:
                shape = len(x), result.shape[1], ceil(x.shape[2] / stride), \
                    result.shape[3]
                out = torch.empty(shape, dtype=result.dtype, memory_format=(
                    torch.channels_last if is_channels_last(result)
                    else torch.contiguous_format))
            out[images, :, rows] = result
        return out

    @staticmethod
    def inputs(ctx):
        x, *parameters = ctx.saved_tensors
        return None, x, None, None, *parameters

    @staticmethod
    def plain(ctx, _, x, __, ___, *parameters):
        return ctx.options[0](x, *parameters)

    @staticmethod
    @twice_differentiable
    @torch.autocast('cpu', enabled=False)  # as in the forward pass
    def backward(ctx, grad):
        x, *parameters = ctx.saved_tensors
        layers, growth, stride = ctx.options
        parameters = [p.detach().requires_grad_(needed) for p, needed in
                      zip(parameters, ctx.needs_input_grad[4:])]
        wanted = [p for p in parameters if p.requires_grad]
        totals = [torch.zeros_like(widen(p)) for p in wanted]
        for images, rows, seen, above in _strips(x, growth, stride):
            with torch.enable_grad():
                result = layers(seen, *parameters)
            of_result = torch.zeros_like(result)
            of_result[:, :, above:] = grad[images, :, rows]
            for total, part in zip(totals, torch.autograd.grad(
                    result, wanted, of_result)):
                total += part
        found = iter(totals)
        return None, None, None, None, *(
            next(found).to(p.dtype) if p.requires_grad else None for p in parameters)


def _strips(x: Tensor, growth: float, stride: int
            ) -> Iterator[tuple[slice, slice, Tensor, int]]:
    """Yield which images and rows of the result, and what those are made of.

    Yields:
        Images; rows of the result; the part of ``x`` that they see; how many
        rows above them come out of it, too, wrong ones for want of what is
        further up.
    """
    share = x[0].numel() * growth / STRIP  # of a strip, that one image fills
    number = max(1, int(1 / share))
    height = ceil(x.shape[2] / stride)
    size = ceil(height / ceil(share))
    for first in range(0, len(x), number):
        images = slice(first, first + number)
        for start in range(0, height, size):
            above = min(start, 1)
            seen = x[images, :, (start - above) * stride:(start + size) * stride]
            yield images, slice(start, start + size), seen, above
