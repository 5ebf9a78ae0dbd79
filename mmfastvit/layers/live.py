"""Batch norms on the batch's own statistics, as sums of maps that exist anyway.

Each channel of norm(f * u) is affine in u, also while training: the mean and
variance of f * u are f and f^2 times those of u. So the branches, norms, layer
scale and skip of a layer are one weighted sum of its input and of the
convolutions that cannot be avoided. Nothing else is computed at full size, and
nothing else is saved for the backward pass.

The weights are differentiable functions of the statistics, by the same algebra
(:mod:`mmfastvit.fusion`) that folds a network on running statistics.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from ..fusion import FixedNorm, norm_scale_shift, widen
from .compiling import is_compiling
from .norm import uses_running_statistics


@dataclass(frozen=True)
class Term:
    """``sign * weight * norm(factor * map)``, for a map known from the context.

    Attributes:
        norm: A batch norm of C channels.
        factor: (C,), or None for 1.
        weight: (C,), or None for 1.
        sign: 1 or -1.
    """

    norm: _BatchNorm
    factor: Tensor | None = None
    weight: Tensor | None = None
    sign: int = 1


Moments = tuple[Tensor, Tensor]  # mean and biased variance, each (C,)
Terms = list[tuple[Tensor, list[Term]]]  # maps (B, C, H, W), and norms of each


def sum_of_norms(terms: Terms, residual: bool = False) -> Tensor:
    """Return the sum of all terms, of the maps' own shape (B, C, H, W).

    Args:
        terms: Maps of one shape, and what to add up for each.
        residual: Whether to add the first map itself.
    """
    maps = [x for x, _ in terms]
    if is_compiling() or not torch.is_grad_enabled():
        moments = [_moments(x) for x in maps]
        return _weighted_sum(maps, *_combine(terms, moments, residual))
    parameters = {
        id(tensor): tensor for _, of_map in terms for term in of_map for tensor in
        (term.norm.weight, term.norm.bias, term.factor, term.weight)
        if tensor is not None}
    return _SumOfNorms.apply(terms, residual, *maps, *parameters.values())


def on_batch_statistics(norm: _BatchNorm, x: Tensor) -> FixedNorm:
    """Return what ``fusion`` needs of ``norm``, its statistics those of ``x``.

    Args:
        norm: A batch norm of C channels; its running statistics are updated.
        x: (B, C, H, W), which it is to normalise.
    """
    moments = _moments(x) if is_compiling() else _Moments.apply(x)
    return with_moments([norm], [moments], x.numel() // x.shape[1])[0]


def with_moments(norms: Sequence[_BatchNorm], moments: Sequence[Moments],
                 count: int) -> list[FixedNorm]:
    """Return what ``fusion`` needs of norms of maps whose moments are known.

    Args:
        norms: Batch norms; their running statistics are updated.
        moments: For each, mean and biased variance of what it normalises.
        count: Over how many values.
    """
    moments, count = _synchronize(moments, norms, count)
    return [_resolve(norm, mean, var, count)
            for norm, (mean, var) in zip(norms, moments)]


def _combine(terms: Terms, moments: Sequence[Moments], residual: bool
             ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return ``offset``, and ``weights`` and ``centres`` of the maps, each (C,).

    The sum of all terms is offset + the sum of weight * (map - centre):
    relative to their mean, maps and sums over them stay small.
    """
    norms = [term.norm for _, of_map in terms for term in of_map]
    x = terms[0][0]
    moments, count = _synchronize(moments, norms, x.numel() // x.shape[1])
    offset, weights, centres = 0, [], []
    for (_, of_map), (mean, var) in zip(terms, moments):
        centre = mean.detach()
        total = 0
        for term in of_map:
            scale, shift = norm_scale_shift(_resolve(
                term.norm, mean, var, count, term.factor, centre))
            if term.weight is not None:
                weight = term.sign * widen(term.weight)
                scale, shift = scale * weight, shift * weight
            total = total + (scale if term.factor is None
                             else scale * widen(term.factor))
            offset = offset + shift
        if residual and not weights:
            total, offset = total + 1, offset + centre
        weights.append(total)
        centres.append(centre)
    return offset, weights, centres


def _resolve(norm: _BatchNorm, mean: Tensor, var: Tensor, count: Tensor | int,
             factor: Tensor | None = None, centre: Tensor | None = None
             ) -> FixedNorm:
    """Return the norm of ``factor * (x + centre)`` with the statistics it uses."""
    if factor is not None:
        factor = widen(factor)
        mean, var = factor * mean, factor.square() * var
        centre = None if centre is None else factor * centre
    if uses_running_statistics(norm):
        mean, var = norm.running_mean, norm.running_var
    else:
        _track(norm, mean.detach(), var.detach(), count)
    return FixedNorm(norm.weight, norm.bias, norm.eps,
                     mean if centre is None else mean - centre, var)


@torch.no_grad()
def _track(norm: _BatchNorm, mean: Tensor, var: Tensor,
           count: Tensor | int) -> None:
    """Update running statistics as the norm itself would."""
    if not (norm.training and norm.track_running_stats):
        return
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:  # the average over all batches
        momentum = 1 / norm.num_batches_tracked.to(mean.dtype)
    running = norm.running_mean, norm.running_var
    for old, new in zip(running, (mean, var * (count / (count - 1)))):
        old.copy_(torch.lerp(old.to(new.dtype), new, momentum))


def _synchronize(moments: Sequence[Moments], norms: Sequence[_BatchNorm],
                 count: int) -> tuple[list[Moments], Tensor | int]:
    """Return moments over all processes' maps, and over how many values.

    One exchange serves all norms of a layer, where each used to have one.
    """
    synchronized = [norm for norm in norms
                    if isinstance(norm, nn.SyncBatchNorm) and norm.training]
    if not (synchronized and distributed.is_available()
            and distributed.is_initialized()):
        if count == 1:
            raise ValueError(
                'Expected more than 1 value per channel when training: batch norm '
                'cannot tell the variance of one. Give larger pictures or '
                'batches, or set norm_eval=True.')
        return list(moments), count
    means, variances = (torch.cat(vectors) for vectors in zip(*moments))
    own = torch.cat([means.new_tensor([count]), means, variances])
    every = _Gather.apply(own, synchronized[0].process_group)
    counts, every = every[:, :1].detach(), every[:, 1:]
    share = counts / counts.sum()
    means, variances = every.chunk(2, 1)
    mean = (share * means).sum(0)
    var = (share * (variances + (means - mean).square())).sum(0)
    return list(zip(mean.chunk(len(moments)), var.chunk(len(moments)))), \
        counts.sum()


def _moments(x: Tensor) -> Moments:
    """Return mean and biased variance (C,) of (B, C, H, W), at least float32."""
    x = widen(x)
    if x.device.type == 'cpu' and not is_compiling():
        # What batch norm itself calls; var_mean takes 30 times as long here.
        return torch.batch_norm_update_stats(x, None, None, 0.)
    return torch.var_mean(x, (0, 2, 3), correction=0)[::-1]


def _moments_gradient(x: Tensor, mean: Tensor, grad_mean: Tensor,
                      grad_var: Tensor) -> Tensor:
    """Return the gradient (B, C, H, W) of ``x`` through its moments."""
    count = x.numel() // x.shape[1]
    slope = grad_var * (2 / count)
    offset = grad_mean / count - slope * mean
    return torch.addcmul(_maps(offset), x, _maps(slope))


class _Moments(Function):
    """Mean and variance, saving nothing but the map, in its own dtype."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Moments:
        mean, var = _moments(x)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        return _moments_gradient(x, mean, grad_mean, grad_var).to(x.dtype)


class _SumOfNorms(Function):
    """``sum_of_norms``, which writes each map's gradient once.

    Large maps are dear: on CPUs, finding memory for one takes ten times as long
    as computing it. The vectors between moments and weights are differentiated
    by autograd, in a graph of their own.
    """

    @staticmethod
    def forward(ctx, terms: Terms, residual: bool, *tensors: Tensor) -> Tensor:
        maps, ctx.parameters = tensors[:len(terms)], tensors[len(terms):]
        ctx.moments = [_moments(x) for x in maps]
        # The graph of vectors stays as it is under checkpointing, which would
        # run the layer again for each vector that is asked for.
        keep = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
        with torch.enable_grad(), keep:
            for vector in sum(ctx.moments, ()):
                vector.requires_grad_()
            ctx.vectors = _combine(terms, ctx.moments, residual)
        ctx.save_for_backward(*maps)
        return _weighted_sum(maps, *ctx.vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, (offset, weights, centres) = ctx.saved_tensors, ctx.vectors
        sums = [_sums(grad, x, centre) for x, centre in zip(maps, centres)]
        vectors = [(offset, sums[0][1]),
                   *zip(weights, (of_weight for of_weight, _ in sums))]
        vectors = [pair for pair in vectors if pair[0].requires_grad]
        inputs = [*sum(ctx.moments, ()), *ctx.parameters]
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        found = iter(torch.autograd.grad(
            [vector for vector, _ in vectors], wanted, [g for _, g in vectors],
            retain_graph=True, allow_unused=True))
        grads = [next(found) if tensor.requires_grad else None for tensor in inputs]
        grad_maps = []
        for x, (mean, _), weight, of_moments in zip(
                maps, ctx.moments, weights, zip(grads[::2], grads[1::2])):
            of_map = _moments_gradient(x, mean, *(
                torch.zeros_like(mean) if g is None else g for g in of_moments))
            of_map.addcmul_(grad, _maps(weight))
            grad_maps.append(of_map.to(x.dtype))
        return None, None, *grad_maps, *grads[2 * len(maps):]


def _weighted_sum(maps: Sequence[Tensor], offset: Tensor,
                  weights: Sequence[Tensor], centres: Sequence[Tensor]) -> Tensor:
    """Return offset + the sum of weight * (map - centre)."""
    for weight, centre in zip(weights, centres):
        offset = offset - weight * centre
    total = torch.addcmul(_maps(offset), maps[0], _maps(weights[0]))
    for weight, x in zip(weights[1:], maps[1:]):
        total = total.addcmul_(x, _maps(weight))
    return total.to(maps[-1].dtype)


def _sums(grad: Tensor, x: Tensor, centre: Tensor) -> Moments:
    """Return the sums (C,) of grad * (x - centre) and of grad.

    What a batch norm's backward pass computes first, which needs no other map.
    """
    one = torch.ones_like(centre)
    _, of_weight, of_offset = torch.ops.aten.native_batch_norm_backward(
        grad.to(x.dtype), x, one, None, None, centre, one, True, 0.,
        [False, True, True])
    return of_weight, of_offset


class _Gather(Function):
    """Every process's vector, (processes, n); gradients go back to each."""

    @staticmethod
    def forward(ctx, own: Tensor, group) -> Tensor:
        ctx.group = group
        every = [torch.empty_like(own)
                 for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(every, own, group)
        return torch.stack(every)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        distributed.all_reduce(grad, group=ctx.group)
        return grad[distributed.get_rank(ctx.group)], None


def _maps(vector: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1), to go with (B, C, H, W)."""
    return vector[:, None, None]
