"""A stem on batch statistics, some rows of the image at a time.

The statistics of its first convolution follow from the image, so that its map, the
largest of a network, is needed strip by strip alone.
"""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..dispatch import is_cpu, twice_differentiable
from ..functions import pick, stem_maps, widen
from ..layouts import is_channels_last
from ..library import operator
from .strips import activate, activate_, activation_gradient, cut, is_large

STRIDE, PADDING, DILATION = (2, 2), (1, 1), (1, 1)  # of both convolutions


def _takes(x: Tensor, act: str, kernel_1: Tensor, *_) -> bool:
    return is_cpu(x) and not x.requires_grad and is_large(x, kernel_1, 2)


@stem_maps.faster(takes=_takes)
def _in_strips(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
               picks: bool) -> tuple[Tensor, ...]:
    return _StemMaps.apply(x, act, kernel_1, bias_1, kernel_2, picks)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    groups = x.shape[1] // kernel.shape[1]
    return F.conv2d(x, kernel, bias, STRIDE, PADDING, DILATION, groups)


def _new_maps(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
              picks: bool) -> list[Tensor]:
    by_pixel = is_channels_last(x) or is_channels_last(kernel_1)
    height, width = ((side + 3) // 4 for side in x.shape[2:])
    return [torch.empty(
        (len(x), channels, height, width), dtype=x.dtype, device=x.device,
        memory_format=torch.channels_last if by_pixel else torch.contiguous_format)
        for channels in (len(kernel_2), len(kernel_1))[:1 + picks]]


def _compute(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
             picks: bool) -> list[Tensor]:
    maps = _new_maps(x, act, kernel_1, bias_1, kernel_2, picks)
    for images, rows, seen, above in cut(x, kernel_1, (2, 2)):
        seen = activate_(_convolve(seen, kernel_1, bias_1), act)
        maps[0][images, :, rows] = _convolve(seen, kernel_2, None)[:, :, above:]
        if picks:
            maps[1][images, :, rows] = pick.plain(seen, STRIDE)[:, :, above:]
    return maps


@torch.autocast('cpu', enabled=False)  # as in the forward pass
def _gradients(grad: Tensor, grad_picked: Tensor | None, x: Tensor, act: str,
               kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor
               ) -> tuple[Tensor, Tensor, Tensor]:
    """Return those of kernel_1, bias_1 and kernel_2."""
    parameters = kernel_1, bias_1, kernel_2
    totals = [torch.zeros_like(widen(p)) for p in parameters]
    for images, rows, seen, above in cut(x, kernel_1, (2, 2)):
        before = _convolve(seen, kernel_1, bias_1)
        after = activate(before, act)
        of_out = _below(grad[images, :, rows], above)
        of_map, of_kernel_2, _ = torch.ops.aten.convolution_backward(
            of_out, after, kernel_2, None, STRIDE, PADDING, DILATION, False, (0, 0),
            after.shape[1] // kernel_2.shape[1], (True, True, False))
        if grad_picked is not None:
            pick.plain(of_map, STRIDE).add_(_below(grad_picked[images, :, rows], above))
        of_map = activation_gradient(of_map, before, act)
        _, of_kernel_1, of_bias_1 = torch.ops.aten.convolution_backward(
            of_map, seen, kernel_1, [len(bias_1)], STRIDE, PADDING, DILATION, False,
            (0, 0), 1, (False, True, True))
        for total, part in zip(totals, (of_kernel_1, of_bias_1, of_kernel_2)):
            total += part
    return tuple(total.to(p.dtype) for total, p in zip(totals, parameters))


def _below(grad: Tensor, above: int) -> Tensor:
    """Put rows of zeros before the others; above is 0 or 1."""
    if not above:
        return grad.contiguous(memory_format=torch.channels_last) \
            if grad.stride(1) == 1 else grad.contiguous()
    b, c, h, w = grad.shape
    out = torch.empty((b, c, h + above, w), dtype=grad.dtype, memory_format=(
        torch.channels_last if grad.stride(1) == 1 else torch.contiguous_format))
    out[:, :, :above] = 0
    out[:, :, above:] = grad
    return out


class _StemMaps(Function):

    @staticmethod
    def forward(ctx, x, act, kernel_1, bias_1, kernel_2, picks):
        ctx.options = act, picks
        ctx.save_for_backward(x, kernel_1, bias_1, kernel_2)
        return tuple(_compute(x, act, kernel_1, bias_1, kernel_2, picks))

    @staticmethod
    def inputs(ctx):
        x, *kernels = ctx.saved_tensors
        return x, None, *kernels, None

    @staticmethod
    def plain(ctx, x, _, kernel_1, bias_1, kernel_2, __):
        act, picks = ctx.options
        return stem_maps.plain(x, act, kernel_1, bias_1, kernel_2, picks)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad, grad_picked=None):
        x, *kernels = ctx.saved_tensors
        found = _gradients(grad, grad_picked, x, ctx.options[0], *kernels)
        return None, None, *(g if wanted else None for g, wanted in
                             zip(found, ctx.needs_input_grad[2:5])), None


def _save(ctx, inputs, output) -> None:
    x, ctx.act, *kernels, _ = inputs
    ctx.save_for_backward(x, *kernels)


@operator(fake=lambda grad, grad_picked, x, act, kernel_1, bias_1, kernel_2: tuple(
    map(torch.empty_like, (kernel_1, bias_1, kernel_2))))
def live_stem_backward(grad: Tensor, grad_picked: Tensor | None, x: Tensor, act: str,
                       kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor
                       ) -> tuple[Tensor, Tensor, Tensor]:
    return _gradients(grad, grad_picked, x, act, kernel_1, bias_1, kernel_2)


def _backward(ctx, grads):
    x, *kernels = ctx.saved_tensors
    found = torch.ops.mmfastvit.live_stem_backward(
        grads[0], grads[1] if len(grads) > 1 else None, x, ctx.act, *kernels)
    return None, None, *found, None


@operator(_new_maps, _save, _backward)
def live_stem(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
              picks: bool) -> list[Tensor]:
    return _compute(x, act, kernel_1, bias_1, kernel_2, picks)


@stem_maps.compiled(takes=_takes)
def _as_operator(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor,
                 kernel_2: Tensor, picks: bool) -> tuple[Tensor, ...]:
    return tuple(torch.ops.mmfastvit.live_stem(x, act, kernel_1, bias_1, kernel_2,
                                               picks))
