"""A layer scale, folded into the operation that it follows."""

import torch
from torch import Tensor, nn

from mmfastvit.models.reparam.fusion import Affine, fold_norm_after, fold_scale
from mmfastvit.models.reparam.reparameterizable import Reparameterizable


class LayerScaled(Reparameterizable):
    """s * op(x), one factor per output channel (CaiT's LayerScale).

    It has no norm, so it always runs as one operation: scaling the weights is
    cheaper than scaling, and saving, an activation.

    Args:
        op: The convolution or linear layer to scale.
        init_value: Start value of ``s``. At 1e-5 a block starts as nearly the
            identity; SA36 and MA36 use 1e-6 (see ``VARIANTS``). None stands for 1,
            without a parameter.
        keeps_scale: Whether ``layer_scale`` stays in the deploy form, too, for
            something else that it scales.
    """

    def __init__(self, op: nn.Conv2d | nn.Linear, init_value: float | None,
                 keeps_scale: bool = False):
        super().__init__()
        self.op = op
        self.keeps_scale = keeps_scale
        self.layer_scale: nn.Parameter | None = None
        if init_value is not None:
            self.layer_scale = nn.Parameter(
                torch.full((op.weight.shape[0],), init_value))

    @property
    def main(self) -> nn.Conv2d | nn.Linear:
        return self.op

    def norms(self) -> list[nn.Module]:
        return []

    def equivalent(self) -> Affine:
        if self.layer_scale is None:
            return fold_norm_after(self.op.weight, self.op.bias, nn.Identity())
        return fold_scale(self.op.weight, self.op.bias, self.layer_scale)

    def switch_to_deploy(self) -> None:
        scale = self.layer_scale
        super().switch_to_deploy()
        self.layer_scale = scale if self.keeps_scale else None

    def forward_branches(self, x: Tensor) -> Tensor:
        return self.scaled(self.op(x))

    def scaled(self, x: Tensor) -> Tensor:
        """Return s * x, of what ``op`` returned."""
        if self.layer_scale is None:
            return x
        trailing = 0 if isinstance(self.op, nn.Linear) else 2
        return self.layer_scale.view(-1, *[1] * trailing) * x
