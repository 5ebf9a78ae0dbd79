"""fc2(gelu(fc1(x))) for CPUs, some pixels at a time.

Every pixel of the map stands for itself. So the hidden map, four times as wide as
a block, never has to exist: each tile of it stays in the caches. In training,
where a block is narrow and its map large, nothing but the input is saved, and the
backward pass computes a tile's hidden values again; wide blocks keep theirs.
"""
from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .compiling import is_traced

TILE = 2**20  # hidden values in one tile: 4 MB
HAS_ONEDNN = (torch.backends.mkldnn.is_available()
              and hasattr(torch.ops.mkldnn, '_linear_pointwise'))
# Channels from which, in training, computing the hidden map twice takes longer
# than to find memory for it: fc1 needs C multiplications for each value.
KEEPS_FROM = 128


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
    keeps = torch.is_grad_enabled() and x.shape[1] >= KEEPS_FROM
    return _FeedForward.apply(keeps, x, kernel_1, bias_1, kernel_2, bias_2)


class _FeedForward(Function):

    @staticmethod
    def forward(ctx, keeps, x, kernel_1, bias_1, kernel_2, bias_2):
        kept = [x.new_empty(x[:, 0].numel(), len(kernel_1))] if keeps else []
        ctx.save_for_backward(x, kernel_1, bias_1, kernel_2, *kept)
        out = torch.empty_like(x)
        if x.dtype == torch.float32 and HAS_ONEDNN and not keeps:
            for pixels, result in _tiles(kernel_1, 0, _matrix(x), _matrix(out)):
                hidden = _linear(pixels, kernel_1, bias_1, 'gelu')
                result.copy_(_linear(hidden, kernel_2, bias_2, 'none'))
            return out
        for pixels, result, hidden, *buffer in _tiles(
                kernel_1, 1, _matrix(x), _matrix(out), *kept):
            activation = buffer[0] if keeps else hidden
            torch.addmm(bias_1, pixels, kernel_1.t(), out=hidden)
            torch.ops.aten.gelu.out(hidden, out=activation)
            torch.addmm(bias_2, activation, kernel_2.t(), out=result)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, kernel_1, bias_1, kernel_2, *kept = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x)
        grad_1, grad_2 = torch.zeros_like(kernel_1), torch.zeros_like(kernel_2)
        grad_bias_1, grad_bias_2 = torch.zeros_like(bias_1), grad.sum((0, 2, 3))
        for pixels, of_out, of_x, hidden, activation, of_hidden in _tiles(
                kernel_1, 2 if kept else 3, *map(_matrix, (x, grad, grad_x)), *kept):
            if not kept:
                torch.addmm(bias_1, pixels, kernel_1.t(), out=hidden)
            torch.ops.aten.gelu.out(hidden, out=activation)
            grad_2.addmm_(of_out.t(), activation)
            torch.mm(of_out, kernel_2, out=activation)
            torch.ops.aten.gelu_backward.grad_input(
                activation, hidden, grad_input=of_hidden)
            grad_1.addmm_(of_hidden.t(), pixels)
            grad_bias_1 += of_hidden.sum(0)
            torch.mm(of_hidden, kernel_1, out=of_x)
        return None, grad_x, grad_1, grad_bias_1, grad_2, grad_bias_2


def _matrix(x: Tensor) -> Tensor:
    """(B, C, H, W) in channels_last -> (pixels, C), the same memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _linear(x: Tensor, kernel: Tensor, bias: Tensor, activation: str) -> Tensor:
    """Map (pixels, C) -> (pixels, C'), in one go with the exact GELU.

    By oneDNN, as PyTorch's own compiler does.
    """
    return torch.ops.mkldnn._linear_pointwise(x, kernel, bias, activation, [],
                                              'none')


def _tiles(kernel: Tensor, num_buffers: int, *matrices: Tensor
           ) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same pixels of all matrices, then buffers.

    A buffer is (pixels, hidden) and the same memory each time.
    """
    hidden, pixels = len(kernel), len(matrices[0])
    size = ceil(pixels / ceil(pixels * hidden / TILE))  # all alike
    buffers = [kernel.new_empty(size, hidden) for _ in range(num_buffers)]
    for tiles in zip(*(matrix.split(size) for matrix in matrices)):
        yield *tiles, *(buffer[:len(tiles[0])] for buffer in buffers)
