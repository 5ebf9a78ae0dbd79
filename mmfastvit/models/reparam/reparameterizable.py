"""What all re-parameterizable layers share: one layer, several forms."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.utils.errors import ArgumentError, CheckpointError

from .fusion import Affine
from .intact import describe_changed_part, has_intact_parts
from .norms import is_batch_norm, is_foldable, uses_running_statistics


class Reparameterizable(nn.Module):
    """A layer that equals one convolution or one linear map.

    It runs in one of four forms, all computing the same function:

    1. live, while a batch norm of it takes its statistics from the batch: the
       operations that the statistics need, and one sum (see
       :mod:`mmfastvit.models.reparam.live`);
    2. one operation with the equivalent kernel, computed on the fly, whenever
       all its norms use running statistics (``eval()``, ``norm_eval=True``, a
       frozen stage) or it has none. Gradients reach every branch parameter
       through the kernel, and no branch saves an activation;
    3. one operation with a stored kernel, after :meth:`switch_to_deploy`;
    4. its branches one by one, where a norm is no batch norm, where a part was
       replaced or has a hook (:mod:`mmfastvit.models.reparam.intact`), and on request
       (:func:`run_branches`).

    A subclass defines ``main``, ``norms``, ``equivalent``, ``forward_live``
    if it has norms, and ``forward_branches``.
    """

    def __init__(self):
        super().__init__()
        self.fused = None
        self.always_branches = False

    @property
    def main(self) -> nn.Conv2d | nn.Linear:
        """The operation that is shaped like the equivalent one."""
        raise NotImplementedError

    def norms(self) -> list[nn.Module]:
        """Return the norms on which the equivalent kernel depends."""
        raise NotImplementedError

    def equivalent(self) -> Affine:
        """Return the equivalent kernel and bias, float32 or wider.

        A differentiable function of the branches' parameters.
        """
        raise NotImplementedError

    def forward_live(self, x: Tensor) -> Tensor:
        """Run on the batch's statistics; all norms are batch norms."""
        raise NotImplementedError

    def forward_branches(self, x: Tensor) -> Tensor:
        """Run the branches one by one."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H', W'); a linear layer (B, N, C)."""
        if self.fused is not None:
            return self.fused(x)
        if self.is_one_operation():
            return self.run(x, *self.kernel_and_bias())
        return self.forward_live(x) if self.is_live() else self.forward_branches(x)

    def is_one_operation(self) -> bool:
        """Whether the next call takes the second form or the third."""
        return self.fused is not None or (
            self._may_fold() and all(map(uses_running_statistics, self.norms())))

    def is_live(self) -> bool:
        """Whether the next call takes the live form."""
        if self.fused is not None or not self._may_fold():
            return False
        norms = self.norms()
        return (not all(map(uses_running_statistics, norms))
                and all(is_batch_norm(type(norm)) for norm in norms))

    def _may_fold(self) -> bool:
        return not self.always_branches and has_intact_parts(self)

    @property
    def operation(self) -> nn.Conv2d | nn.Linear:
        """The stored operation, or before folding the one that is shaped like it."""
        return self.main if self.fused is None else self.fused

    def kernel_and_bias(self) -> Affine:
        """Return those of the one operation, in the dtype of the weights."""
        if self.fused is not None:
            return self.fused.weight, self.fused.bias
        return tuple(t.to(self.main.weight.dtype) for t in self.equivalent())

    def run(self, x: Tensor, kernel: Tensor, bias: Tensor,
            after_gelu: bool = False) -> Tensor:
        """Run one operation like ``main``, with another kernel and bias.

        Args:
            after_gelu: Whether a convolution is to see gelu(x), which in inference
                overwrites ``x``.
        """
        op = self.operation
        if isinstance(op, nn.Linear):
            return ops.linear(x, kernel, bias)
        if after_gelu:
            return ops.gelu_conv2d(x, kernel, bias, op.stride, op.padding, op.dilation,
                                   op.groups, inplace=True)
        return op._conv_forward(x, kernel, bias)

    def why_not_foldable(self) -> str | None:
        """Return what keeps this layer from being folded, if anything does."""
        if self.fused is not None:
            return None
        changed = describe_changed_part(self)
        for norm in () if changed else self.norms():
            if not is_foldable(norm):
                return (f'{norm} keeps no running statistics; only batch '
                        "norms that track them can be folded: build the model with "
                        "norm_cfg=dict(type='BN')")
        return changed

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Loaders that are not strict, MMEngine's among them, would otherwise
        # skip every tensor and leave the layer as it was drawn.
        stored = f'{prefix}fused.weight' in state_dict
        given = stored or any(key.startswith(prefix) for key in state_dict)
        if given and stored != (self.fused is not None):
            forms = ('train form', 'deploy form')
            raise CheckpointError(
                f'The checkpoint is in {forms[stored]}, the model in '
                f'{forms[not stored]} (at {prefix[:-1]}): build the model with '
                f'deploy={stored}.')
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Replace the branches, in place and for good, by one operation.

        Dtype, device, memory format, mode and ``requires_grad`` stay.

        Raises:
            ArgumentError: A norm keeps no running statistics.
        """
        if self.fused is not None:
            return
        reason = self.why_not_foldable()
        if reason:
            raise ArgumentError(f'{type(self).__name__}: {reason}.')
        requires_grad = any(p.requires_grad for p in self.parameters())
        op = self.main
        kernel, bias = self.equivalent()
        # empty_like keeps the memory format, which the arithmetic may not.
        op.weight = nn.Parameter(torch.empty_like(op.weight).copy_(kernel),
                                 requires_grad)
        op.bias = nn.Parameter(bias.to(op.weight.dtype), requires_grad)
        self._modules.clear()
        self._parameters.clear()
        self.fused = op


@contextmanager
def run_branches(model: nn.Module) -> Iterator[None]:
    """Let every layer of ``model`` run its branches, whatever its norms do.

    The branches, written independently of the fusion algebra, are what the other
    forms are checked against.
    """
    before = {layer: layer.always_branches for layer in model.modules()
              if isinstance(layer, Reparameterizable)}
    try:
        for layer in before:
            layer.always_branches = True
        yield
    finally:
        for layer, value in before.items():
            layer.always_branches = value
