"""Moments, and sums weighted by them, that write each gradient of a map once.

Large maps are dear: on CPUs, finding memory for one takes ten times as long as
computing it.
"""
import torch
from torch import Tensor
from torch.autograd import Function

from .dispatch import twice_differentiable
from .functions import Moments, by_channel, moments, sum_by_moments, weighted_sum, widen
from .layouts import as_new
from .library import operator


@moments.faster(takes=lambda x: True)
def _moments(x: Tensor) -> Moments:
    return _Moments.apply(x) if torch.is_grad_enabled() else _compute(x)


@sum_by_moments.faster(takes=lambda *_: torch.is_grad_enabled())
def _sum_by_moments(maps, combine, parameters) -> Tensor:
    return _SumByMoments.apply(len(maps), combine, *maps, *parameters)


def _compute(x: Tensor) -> Moments:
    x = widen(x)
    if x.device.type == 'cpu':
        # What batch norm itself calls; var_mean takes 30 times as long here.
        return torch.batch_norm_update_stats(x, None, None, 0.)
    return moments.plain(x)


def _gradient(x: Tensor, mean: Tensor, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
    """Return the gradient (B, C, H, W) of ``x`` through its moments."""
    count = x.numel() // x.shape[1]
    slope = grad_var * (2 / count)
    offset = grad_mean / count - slope * mean
    return torch.addcmul(by_channel(offset), x, by_channel(slope))


class _Moments(Function):
    """Mean and variance, saving nothing but the map, in its own dtype."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Moments:
        mean, var = _compute(x)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def inputs(ctx):
        return ctx.saved_tensors[:1]

    @staticmethod
    def plain(ctx, x):
        return moments.plain(x)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        return _gradient(x, mean, grad_mean, grad_var).to(x.dtype)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, output[0])


def _backward(ctx, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
    x, mean = ctx.saved_tensors
    return _gradient(x, mean, grad_mean, grad_var).to(x.dtype)


@operator(lambda x: tuple(widen(x.new_empty(x.shape[1])) for _ in range(2)), _save,
          _backward)
def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = _compute(x)
    return mean, variance


@moments.compiled(takes=lambda x: x.device.type == 'cpu')
def _by_operator(x: Tensor) -> Moments:
    return torch.ops.mmfastvit.batch_moments(x)


class _SumByMoments(Function):
    """``sum_by_moments``; autograd differentiates the vectors in their own graph."""

    @staticmethod
    def forward(ctx, count: int, combine, *tensors: Tensor) -> Tensor:
        maps = tensors[:count]
        ctx.combine = combine
        ctx.moments = [_compute(x) for x in maps]
        # The graph of vectors stays as it is under checkpointing, which would
        # run the layer again for each vector that is asked for.
        keep = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
        with torch.enable_grad(), keep:
            for vector in sum(ctx.moments, ()):
                vector.requires_grad_()
            # Leaves of their own: a parameter may stand there twice.
            ctx.leaves = [p.detach().requires_grad_(p.requires_grad)
                          for p in tensors[count:]]
            ctx.vectors = combine(ctx.moments, ctx.leaves)
        # Parameters, too, so that PyTorch notices if one is changed meanwhile.
        ctx.save_for_backward(*tensors)
        return weighted_sum(maps, *ctx.vectors)

    @staticmethod
    def inputs(ctx):
        return None, None, *ctx.saved_tensors

    @staticmethod
    def plain(ctx, _, __, *tensors):
        count = len(ctx.moments)
        return sum_by_moments.plain(tensors[:count], ctx.combine, tensors[count:])

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps = ctx.saved_tensors[:len(ctx.moments)]
        offset, weights, centres = ctx.vectors
        sums = [_sums(grad, x, centre) for x, centre in zip(maps, centres)]
        vectors = [(offset, sums[0][1]),
                   *zip(weights, (of_weight for of_weight, _ in sums))]
        vectors = [pair for pair in vectors if pair[0].requires_grad]
        inputs = [*sum(ctx.moments, ()), *ctx.leaves]
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        found = iter(torch.autograd.grad(
            [vector for vector, _ in vectors], wanted, [g for _, g in vectors],
            retain_graph=True, allow_unused=True))
        grads = [next(found) if tensor.requires_grad else None for tensor in inputs]
        grad_maps = []
        for x, (mean, _), weight, of_moments in zip(
                maps, ctx.moments, weights, zip(grads[::2], grads[1::2])):
            of_map = _gradient(x, mean, *(
                torch.zeros_like(mean) if g is None else g for g in of_moments))
            of_map.addcmul_(grad, by_channel(weight))
            grad_maps.append(of_map.to(x.dtype))
        return None, None, *grad_maps, *grads[2 * len(maps):]


def _sums(grad: Tensor, x: Tensor, centre: Tensor) -> Moments:
    """Return the sums (C,) of grad * (x - centre) and of grad.

    What a batch norm's backward pass computes first, which needs no other map.
    """
    for layout in (torch.contiguous_format, torch.channels_last):
        if x.is_contiguous(memory_format=layout):
            # Of other strides, torch 2.11 sums up wrongly (test_live.py).
            grad, x = as_new(grad, layout), as_new(x, layout)
            break
    one = torch.ones_like(centre)
    _, of_weight, of_offset = torch.ops.aten.native_batch_norm_backward(
        grad.to(x.dtype), x, one, None, None, centre, one, True, 0.,
        [False, True, True])
    return of_weight, of_offset
