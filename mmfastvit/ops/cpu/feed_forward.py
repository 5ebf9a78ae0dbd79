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
from ..library import operator
from .linear import linear

TILE = 2**20  # hidden values in one tile: 4 MB
# Channels from which, in training, computing the hidden map twice takes longer
# than to find memory for it: fc1 needs C multiplications for each value.
KEEPS_FROM = 128


def _takes(x: Tensor, *_, **__) -> bool:
    return is_cpu(x) and is_channels_last(x) and x.numel() > 0


@functions.feed_forward.faster(takes=_takes)
def _in_tiles(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
              bias_2: Tensor, inplace: bool = False) -> Tensor:
    matrices = kernel_1.flatten(1), bias_1, kernel_2.flatten(1), bias_2
    if torch.is_grad_enabled():
        return _FeedForward.apply(x.shape[1] >= KEEPS_FROM, x, *matrices)
    fits = inplace and len(kernel_2) == x.shape[1]
    return _compute(x if fits else _new_map(x, len(kernel_2)), x, *matrices)


def _takes_tokens(x: Tensor, *_) -> bool:
    return is_cpu(x) and x.is_contiguous() and x.numel() > 0


@functions.mlp.faster(takes=_takes_tokens)
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


def _train(keeps: bool, x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
           bias_2: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the result, and the hidden map if it is kept."""
    kept = [linear(rows(x), kernel_1, bias_1)] if keeps else []
    return _compute(_new_map(x, len(kernel_2)), x, kernel_1, bias_1, kernel_2, bias_2,
                    *kept), kept


@torch.autocast('cpu', enabled=False)  # as in the forward pass
def _gradients(grad: Tensor, x: Tensor, kernel_1: Tensor, bias_1: Tensor,
               kernel_2: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    """Return those of x, kernel_1, bias_1, kernel_2 and bias_2."""
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
    return grad_x, grad_1, grad_bias_1, grad_2, grad_bias_2


class _FeedForward(Function):

    @staticmethod
    def forward(ctx, keeps, x, kernel_1, bias_1, kernel_2, bias_2):
        out, kept = _train(keeps, x, kernel_1, bias_1, kernel_2, bias_2)
        ctx.save_for_backward(x, kernel_1, bias_1, kernel_2, bias_2, *kept)
        return out

    @staticmethod
    def inputs(ctx):
        return None, *ctx.saved_tensors[:5]

    @staticmethod
    def plain(ctx, _, x, kernel_1, bias_1, kernel_2, bias_2):
        return functions.feed_forward.plain(
            x, kernel_1[:, :, None, None], bias_1, kernel_2[:, :, None, None], bias_2)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        x, kernel_1, bias_1, kernel_2, _, *kept = ctx.saved_tensors
        return None, *_gradients(grad, x, kernel_1, bias_1, kernel_2, *kept)


@operator(fake=lambda grad, x, kernel_1, bias_1, kernel_2, kept: (
    torch.empty_like(x, memory_format=torch.channels_last),
    *map(torch.empty_like, (kernel_1, bias_1, kernel_2)),
    grad.new_empty(grad.shape[1])))
def feed_forward_backward(grad: Tensor, x: Tensor, kernel_1: Tensor, bias_1: Tensor,
                          kernel_2: Tensor, kept: Tensor | None
                          ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _gradients(grad, x, kernel_1, bias_1, kernel_2,
                      *() if kept is None else (kept, ))


def _saved_by_operator(ctx, inputs, output) -> None:
    keeps, x, kernel_1, bias_1, kernel_2, _ = inputs
    kept = output[1] if keeps else None
    ctx.save_for_backward(x, kernel_1, bias_1, kernel_2, kept)
    ctx.set_materialize_grads(False)


def _backward_of_operator(ctx, grad, _):
    return None, *torch.ops.mmfastvit.feed_forward_backward(grad, *ctx.saved_tensors)


def _fake(keeps, x, kernel_1, bias_1, kernel_2, bias_2):
    hidden = (x.numel() // x.shape[1], len(kernel_1)) if keeps else (0, )
    return _new_map(x, len(kernel_2)), x.new_empty(hidden)


@operator(_fake, _saved_by_operator, _backward_of_operator)
def feed_forward(keeps: bool, x: Tensor, kernel_1: Tensor, bias_1: Tensor,
                 kernel_2: Tensor, bias_2: Tensor) -> tuple[Tensor, Tensor]:
    out, kept = _train(keeps, x, kernel_1, bias_1, kernel_2, bias_2)
    return out, kept[0] if kept else x.new_empty(0)


@functions.mlp.compiled(takes=_takes_tokens)
def _tokens_by_operator(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                        bias_2: Tensor) -> Tensor:
    out = _as_operator(x.mT[..., None], kernel_1[..., None, None], bias_1,
                       kernel_2[..., None, None], bias_2)
    return out.squeeze(3).mT


@functions.feed_forward.compiled(takes=_takes)
def _as_operator(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                 bias_2: Tensor, inplace: bool = False) -> Tensor:
    keeps = torch.is_grad_enabled() and x.shape[1] >= KEEPS_FROM
    return torch.ops.mmfastvit.feed_forward(
        keeps, x, kernel_1.flatten(1), bias_1, kernel_2.flatten(1), bias_2)[0]


def _tiles(kernel: Tensor, *matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same pixels of all matrices."""
    pixels = len(matrices[0])
    size = ceil(pixels / ceil(pixels * len(kernel) / TILE))  # all alike
    return zip(*(matrix.split(size) for matrix in matrices))
