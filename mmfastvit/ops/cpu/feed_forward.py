"""fc2(gelu(fc1(x))), some pixels at a time.

Every pixel of the map stands for itself. So the hidden map, four times as wide as
a block, never has to exist: each tile of it stays in the caches. In training,
where a block is narrow and its map large, nothing but the input is saved, and the
backward pass computes a tile's hidden values again; wide blocks keep theirs.
"""
from collections.abc import Iterator
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .. import functions
from ..dispatch import is_cpu, twice_differentiable
from ..gelu_backward import gelu_backward_
from ..layouts import is_channels_last, rows
from .linear import linear

TILE = 2**20  # hidden values in one tile: 4 MB
# Channels from which, in training, computing the hidden map twice takes longer
# than to find memory for it: fc1 needs C multiplications for each value.
KEEPS_FROM = 128


@functions.feed_forward.faster(
    takes=lambda x, *_, **__: is_cpu(x) and is_channels_last(x) and x.numel() > 0)
def _in_tiles(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
              bias_2: Tensor, inplace: bool = False) -> Tensor:
    matrices = kernel_1.flatten(1), bias_1, kernel_2.flatten(1), bias_2
    if torch.is_grad_enabled():
        return _FeedForward.apply(x.shape[1] >= KEEPS_FROM, x, *matrices)
    fits = inplace and len(kernel_2) == x.shape[1]
    return _compute(x if fits else _new_map(x, len(kernel_2)), x, *matrices)


@functions.mlp.faster(
    takes=lambda x, *_: is_cpu(x) and x.is_contiguous() and x.numel() > 0)
def _of_tokens(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
               bias_2: Tensor) -> Tensor:
    """Tokens are a map in channels_last, one pixel wide."""
    out = _in_tiles(x.mT[..., None], kernel_1[..., None, None], bias_1,
                    kernel_2[..., None, None], bias_2)
    return out.squeeze(3).mT


def _compute(out: Tensor, x: Tensor, kernel_1: Tensor, bias_1: Tensor,
             kernel_2: Tensor, bias_2: Tensor, *kept: Tensor) -> Tensor:
    """Map (B, C, H, W) to (B, C', H, W); ``kept`` is the hidden map, if that exists.

    ``out``, which may be ``x``, is for the result of several tiles.
    """
    def of_tile(pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
        activation = F.gelu(hidden) if kept else linear(
            pixels, kernel_1, bias_1, gelu=True)
        return linear(activation, kernel_2, bias_2)

    tiles = list(_tiles(kernel_1, rows(x), *kept))
    if len(tiles) == 1:  # is the map
        b, _, h, w = x.shape
        return of_tile(*tiles[0]).view(b, h, w, -1).permute(0, 3, 1, 2)
    for result, *tile in _tiles(kernel_1, rows(out), rows(x), *kept):
        result.copy_(of_tile(*tile))
    return out


def _new_map(x: Tensor, channels: int) -> Tensor:
    b, _, h, w = x.shape
    return x.new_empty((b, h, w, channels)).permute(0, 3, 1, 2)


class _FeedForward(Function):

    @staticmethod
    def forward(ctx, keeps, x, kernel_1, bias_1, kernel_2, bias_2):
        kept = [linear(rows(x), kernel_1, bias_1)] if keeps else []
        ctx.save_for_backward(x, kernel_1, bias_1, kernel_2, bias_2, *kept)
        return _compute(_new_map(x, len(kernel_2)), x, kernel_1, bias_1, kernel_2,
                        bias_2, *kept)

    @staticmethod
    def inputs(ctx):
        return None, *ctx.saved_tensors[:5]

    @staticmethod
    def plain(ctx, _, x, kernel_1, bias_1, kernel_2, bias_2):
        return functions.feed_forward.plain(
            x, kernel_1[:, :, None, None], bias_1, kernel_2[:, :, None, None], bias_2)

    @staticmethod
    @twice_differentiable
    @torch.autocast('cpu', enabled=False)  # as in the forward pass
    def backward(ctx, grad):
        x, kernel_1, bias_1, kernel_2, _, *kept = ctx.saved_tensors
        # Whoever saves tensors elsewhere may bring x back in another format.
        x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
        grad_x = torch.empty_like(x)
        grad_1, grad_2 = torch.empty_like(kernel_1), torch.empty_like(kernel_2)
        grad_bias_1, grad_bias_2 = torch.zeros_like(bias_1), rows(grad).sum(0)
        beta = 0  # for the first tile, to which nothing is added
        for pixels, of_out, of_x, *hidden in _tiles(
                kernel_1, *map(rows, (x, grad, grad_x)), *kept):
            hidden = hidden[0] if kept else linear(pixels, kernel_1, bias_1)
            grad_2.addmm_(of_out.t(), F.gelu(hidden), beta=beta)
            of_hidden = gelu_backward_(linear(of_out, kernel_2.t()), hidden)
            grad_1.addmm_(of_hidden.t(), pixels, beta=beta)
            grad_bias_1 += of_hidden.sum(0)
            of_x.copy_(linear(of_hidden, kernel_1.t()))
            beta = 1
        return None, grad_x, grad_1, grad_bias_1, grad_2, grad_bias_2


def _tiles(kernel: Tensor, *matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same pixels of all matrices."""
    pixels = len(matrices[0])
    size = ceil(pixels / ceil(pixels * len(kernel) / TILE))  # all alike
    return zip(*(matrix.split(size) for matrix in matrices))
