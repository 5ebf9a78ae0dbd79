"""Batch norms on the batch's own statistics, as sums of maps that exist anyway.

Each channel of norm(f * u) is affine in u, also while training: the mean and
variance of f * u are f and f^2 times those of u. So the branches, norms, layer
scale and skip of a layer are one weighted sum of its input and of the
convolutions that cannot be avoided. Nothing else is computed at full size, and
nothing else is saved for the backward pass. Where a small map has a single norm, there
is nothing to combine, and PyTorch's own norm runs.

The weights are differentiable functions of the statistics, by the same algebra
(:mod:`mmfastvit.models.reparam.fusion`) that folds a network on running statistics.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from mmfastvit import ops
from mmfastvit.ops import widen

from .fusion import FixedNorm, norm_scale_shift
from .norms import uses_running_statistics

# Of the maps that PyTorch's own norms run on, 4 MB: each makes another one, and to
# find memory for larger ones takes longer than the operations that are saved.
MAX_VALUES = 2**20


@dataclass(frozen=True)
class Term:
    """``weight * norm(factor * map)``, for a map known from the context.

    Attributes:
        norm: A batch norm of C channels.
        factor: (C,), or None for 1.
        weight: (C,), or None for 1.
    """

    norm: _BatchNorm
    factor: Tensor | None = None
    weight: Tensor | None = None

    @property
    def parameters(self) -> tuple[Tensor | None, ...]:
        return self.factor, self.weight, self.norm.weight, self.norm.bias


Moments = tuple[Tensor, Tensor]  # mean and biased variance, each (C,)
Terms = list[tuple[Tensor, list[Term]]]  # maps (B, C, H, W), and norms of each


def sum_of_norms(terms: Terms, residual: bool = False) -> Tensor:
    """Return the sum of all terms, of the maps' own shape (B, C, H, W).

    Args:
        terms: Maps of one shape, and what to add up for each.
        residual: Whether to add the first map itself.
    """
    if not residual and all(_suits_torch(*term) for term in terms):
        # In place: nobody else sees a norm's output, and its gradient needs none.
        return reduce(Tensor.add_, (term.norm(x) for x, (term, ) in terms))
    combination = _Combination(terms, residual)
    return ops.sum_by_moments([x for x, _ in terms], combination,
                              combination.parameters)


def _suits_torch(x: Tensor, terms: list[Term]) -> bool:
    """Whether PyTorch's own norm is as exact as a weighted sum, and faster.

    It saves as much, and has fewer operations. In low precision it would round each
    norm, and several processes would exchange once for each.
    """
    term, *others = terms
    return (not others and term.factor is None and term.weight is None
            and not isinstance(term.norm, nn.SyncBatchNorm)
            and x.dtype == widen(x).dtype and x.numel() <= MAX_VALUES
            # Of axes of one value, it takes strides at their word (test_live.py).
            and min(x.shape) > 1)


def on_batch_statistics(norm: _BatchNorm, x: Tensor) -> FixedNorm:
    """Return what ``fusion`` needs of ``norm``, its statistics those of ``x``.

    Args:
        norm: A batch norm of C channels; its running statistics are updated.
        x: (B, C, H, W), which it is to normalise.
    """
    return with_moments([norm], [ops.moments(x)], x.numel() // x.shape[1])[0]


def with_moments(norms: Sequence[_BatchNorm], moments: Sequence[Moments],
                 count: int) -> list[FixedNorm]:
    """Return what ``fusion`` needs of norms of maps whose moments are known.

    Args:
        norms: Batch norms; their running statistics are updated.
        moments: For each, mean and biased variance of what it normalises.
        count: Over how many values.
    """
    moments, count = _synchronize(moments, norms, count)
    _track(norms, *([vector.detach() for vector in vectors]
                    for vectors in zip(*moments)), count)
    used = [(norm.running_mean, norm.running_var) if uses_running_statistics(norm)
            else own for norm, own in zip(norms, moments)]
    return [FixedNorm(norm.weight, norm.bias, norm.eps, *own)
            for norm, own in zip(norms, used)]


class _Combination:
    """From the moments of maps to the vectors that weigh them.

    Asked again, for a second derivative, it leaves running statistics as they are.

    Attributes:
        parameters: Of norms, factors and weights, term by term.
    """

    def __init__(self, terms: Terms, residual: bool):
        x = terms[0][0]
        self.count = x.numel() // x.shape[1]  # of values that a norm sees
        self.terms = [term for _, of_map in terms for term in of_map]
        self.terms_by_map = [len(of_map) for _, of_map in terms]
        self.residual = residual
        self.tracks = True
        # Of now: modes may have changed when a second derivative asks again.
        self.fixed = [uses_running_statistics(term.norm) for term in self.terms]
        self.parameters = [tensor for term in self.terms for tensor in term.parameters
                           if tensor is not None]

    def __call__(self, moments: Sequence[Moments], parameters: Sequence[Tensor]
                 ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return ``offset``, and ``weights`` and ``centres`` of the maps, each (C,).

        The sum of all terms is offset + the sum of weight * (map - centre):
        relative to their mean, maps and sums over them stay small. Terms are rows
        (terms, C), computed together: many short vectors would take as many times as
        long.

        Args:
            moments: Of each map.
            parameters: ``self.parameters``, or what stands for them.
        """
        rest = iter(parameters)
        factor, weight, gamma, beta = map(_rows, zip(*(
            [None if tensor is None else next(rest) for tensor in term.parameters]
            for term in self.terms)), (1, 1, 1, 0))
        norms = [term.norm for term in self.terms]
        moments, count = _synchronize(moments, norms, self.count)
        centres = [mean.detach() for mean, _ in moments]
        mean, var, centre = (
            torch.stack([row for row, number in zip(rows, self.terms_by_map)
                         for _ in range(number)])
            for rows in (*zip(*moments), centres))
        if factor is not None:
            mean, var = factor * mean, factor.square() * var
            centre = factor * centre
        if self.tracks:
            self.tracks = False
            _track(norms, mean.detach().unbind(), var.detach().unbind(), count)
        if any(self.fixed):
            mean, var = (_with_running(norms, self.fixed, *rows) for rows in (
                ('running_mean', mean), ('running_var', var)))
        scale, shift = norm_scale_shift(FixedNorm(
            gamma, beta, _eps(norms, var), mean - centre, var))
        if weight is not None:
            scale, shift = scale * weight, shift * weight
        if factor is not None:
            scale = scale * factor
        weights = [rows.sum(0) for rows in scale.split(self.terms_by_map)]
        # Not shift.sum(0): PyTorch would give the biases one gradient, in the same
        # memory, that clipping scales once for each (test_backbone.py).
        offset = reduce(torch.add, shift.unbind())
        if self.residual:
            weights[0], offset = weights[0] + 1, offset + centres[0]
        return offset, weights, centres


def _rows(vectors: Sequence[Tensor | None], fill: int) -> Tensor | None:
    """Return vectors (C,) as rows, ``fill`` for None; None if there are no others."""
    known = next((vector for vector in vectors if vector is not None), None)
    if known is None:
        return None
    filled = (torch.full_like(known, fill) if vector is None else vector
              for vector in vectors)
    return torch.stack([widen(vector) for vector in filled])


def _with_running(norms: Sequence[_BatchNorm], fixed: Sequence[bool], name: str,
                  rows: Tensor) -> Tensor:
    """Return rows, those of norms that are fixed replaced by running statistics."""
    return torch.stack([getattr(norm, name).to(row.dtype) if is_fixed else row
                        for norm, is_fixed, row in zip(norms, fixed, rows.unbind())])


def _eps(norms: Sequence[_BatchNorm], like: Tensor) -> Tensor | float:
    """Return what norms add to a variance: one number, or one for each row."""
    values = [norm.eps for norm in norms]
    return values[0] if len(set(values)) == 1 else like.new_tensor(values)[:, None]


@torch.no_grad()
def _track(norms: Sequence[_BatchNorm], means: Sequence[Tensor],
           variances: Sequence[Tensor], count: Tensor | int) -> None:
    """Update running statistics as the norms themselves would."""
    for norm, mean, var in zip(norms, means, variances):
        if not (norm.training and norm.track_running_stats):
            continue
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum
        if momentum is None:  # the average over all batches
            momentum = 1 / norm.num_batches_tracked.to(mean.dtype)
        running = norm.running_mean, norm.running_var
        for old, new in zip(running, (mean, var * (count / (count - 1)))):
            if old.dtype == new.dtype:
                old.lerp_(new, momentum)
            else:
                old.copy_(torch.lerp(old.to(new.dtype), new, momentum))


def _synchronize(moments: Sequence[Moments], norms: Sequence[_BatchNorm],
                 count: int) -> tuple[list[Moments], Tensor | int]:
    """Return moments over all processes' maps, and over how many values.

    One exchange serves all norms of a layer, where each used to have one.
    """
    synchronized = [norm for norm in norms
                    if isinstance(norm, nn.SyncBatchNorm) and norm.training]
    # A group of one is alone: PyTorch's own norm then is a plain batch norm, too.
    if not (synchronized and distributed.is_available()
            and distributed.is_initialized()
            and distributed.get_world_size(synchronized[0].process_group) > 1):
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
