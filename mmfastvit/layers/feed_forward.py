"""fc2(gelu(fc1(x))) for CPUs, some pixels at a time.

Every pixel of the map stands for itself. So the hidden map, four times as wide as
a block, never has to exist: each tile of it stays in the caches. In training,
nothing but the input is saved, and the backward pass computes a tile's hidden
values again, which takes less time than to write and read a map that memory has
to be found for.
"""
from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .compiling import is_traced

TILE = 2**20  # hidden values in one tile: 4 MB


def runs_in_tiles(x: Tensor, kernel: Tensor) -> bool:
    """Whether ``feed_forward`` takes this map, and nothing looks inside."""
    return (x.device.type == 'cpu' and x.dtype == kernel.dtype  # not autocast
            and x.is_contiguous(memory_format=torch.channels_last)
            and not is_traced())


def feed_forward(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                 bias_2: Tensor) -> Tensor:
    """Map (B, C, H, W), in channels_last, to (B, C, H, W).

    Args:
        kernel_1: (hidden, C).
        bias_1: (hidden,).
        kernel_2: (C, hidden).
        bias_2: (C,).
    """
    return _FeedForward.apply(x, kernel_1, bias_1, kernel_2, bias_2)


class _FeedForward(Function):

    @staticmethod
    def forward(ctx, x, kernel_1, bias_1, kernel_2, bias_2):
        ctx.save_for_backward(x, kernel_1, bias_1, kernel_2)
        out = torch.empty_like(x)
        for pixels, result, hidden in _tiles(kernel_1, 1, x, out):
            torch.addmm(bias_1, pixels, kernel_1.t(), out=hidden)
            torch.addmm(bias_2, torch.ops.aten.gelu_(hidden), kernel_2.t(),
                        out=result)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, kernel_1, bias_1, kernel_2 = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x)
        grad_1, grad_2 = torch.zeros_like(kernel_1), torch.zeros_like(kernel_2)
        grad_bias_1, grad_bias_2 = torch.zeros_like(bias_1), grad.sum((0, 2, 3))
        for pixels, of_out, of_x, hidden, activation, of_hidden in _tiles(
                kernel_1, 3, x, grad, grad_x):
            torch.addmm(bias_1, pixels, kernel_1.t(), out=hidden)
            torch.ops.aten.gelu.out(hidden, out=activation)
            grad_2.addmm_(of_out.t(), activation)
            torch.mm(of_out, kernel_2, out=activation)
            torch.ops.aten.gelu_backward.grad_input(
                activation, hidden, grad_input=of_hidden)
            grad_1.addmm_(of_hidden.t(), pixels)
            grad_bias_1 += of_hidden.sum(0)
            torch.mm(of_hidden, kernel_1, out=of_x)
        return grad_x, grad_1, grad_bias_1, grad_2, grad_bias_2


def _tiles(kernel: Tensor, num_buffers: int, *maps: Tensor
           ) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same pixels of all maps, as matrices (pixels, C), and buffers.

    A buffer is (pixels, hidden) and the same memory each time.
    """
    hidden = len(kernel)
    matrices = [x.permute(0, 2, 3, 1).flatten(0, 2) for x in maps]
    pixels = len(matrices[0])
    size = ceil(pixels / ceil(pixels * hidden / TILE))  # all alike
    buffers = [maps[0].new_empty(size, hidden) for _ in range(num_buffers)]
    for tiles in zip(*(matrix.split(size) for matrix in matrices)):
        yield *tiles, *(buffer[:len(tiles[0])] for buffer in buffers)
