"""Windows of a map and back, each in one copy, padded or not."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd import Function

from .dispatch import twice_differentiable
from .functions import from_windows, to_windows, windows_along


@to_windows.faster(takes=lambda x, side: True)
def _to_windows(x: Tensor, side: int) -> Tensor:
    return _ToWindows.apply(x, side)


@from_windows.faster(takes=lambda windows, side, shape: True)
def _from_windows(windows: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    return _FromWindows.apply(windows, side, tuple(shape))


def _cut(x: Tensor, side: int) -> Tensor:
    b, c, *size = x.shape
    grid = [windows_along(n, side) for n in size]
    new = x.new_zeros if any(n % side for n in size) else x.new_empty
    windows = new((b, *grid, side, side, c))
    for part, of_windows in _pieces(x, windows):
        of_windows.copy_(part)
    return windows.flatten(3, 4).flatten(0, 2)


def _join(windows: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    b, c, h, w = shape
    windows = windows.view(b, windows_along(h, side), windows_along(w, side), side,
                           side, c)
    x = windows.new_empty((b, h, w, c)).permute(0, 3, 1, 2)
    for part, of_windows in _pieces(x, windows):
        part.copy_(of_windows)
    return x


def _pieces(x: Tensor, windows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same pixels in a map and in its windows: whole windows, then edges.

    Args:
        x: (B, C, H, W).
        windows: (B, rows, columns, side, side, C).
    """
    side = windows.shape[3]
    x = x.permute(0, 2, 3, 1)
    for i, rows, height in _spans(x.shape[1], side):
        for j, columns, width in _spans(x.shape[2], side):
            part = x[:, i * side:i * side + rows * height,
                     j * side:j * side + columns * width]
            part = part.unflatten(1, (rows, height)).unflatten(3, (columns, width))
            yield (part.transpose(2, 3),
                   windows[:, i:i + rows, j:j + columns, :height, :width])


def _spans(length: int, side: int) -> Iterator[tuple[int, int, int]]:
    """Yield the first window, how many, and how much of each is inside the map."""
    whole, rest = divmod(length, side)
    if whole:
        yield 0, whole, side
    if rest:
        yield whole, 1, rest


class _ToWindows(Function):

    @staticmethod
    def forward(ctx, x, side):
        ctx.side, ctx.shape = side, x.shape
        ctx.dtype, ctx.device = x.dtype, x.device
        return _cut(x, side)

    @staticmethod
    def inputs(ctx):  # linear: any x will do
        return torch.zeros(ctx.shape, dtype=ctx.dtype, device=ctx.device,
                           requires_grad=True), None

    @staticmethod
    def plain(ctx, x, _):
        return to_windows.plain(x, ctx.side)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        return _join(grad.contiguous(), ctx.side, ctx.shape), None


class _FromWindows(Function):

    @staticmethod
    def forward(ctx, windows, side, shape):
        ctx.side, ctx.map_shape, ctx.shape = side, shape, windows.shape
        ctx.dtype, ctx.device = windows.dtype, windows.device
        return _join(windows.contiguous(), side, shape)

    @staticmethod
    def inputs(ctx):  # linear: any windows will do
        return torch.zeros(ctx.shape, dtype=ctx.dtype, device=ctx.device,
                           requires_grad=True), None, None

    @staticmethod
    def plain(ctx, windows, *_):
        return from_windows.plain(windows, ctx.side, ctx.map_shape)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        return _cut(grad, ctx.side), None, None
