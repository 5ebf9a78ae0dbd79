"""A linear map of normalised tokens, the norm folded into it as far as it goes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.models.reparam.fusion import (
    Affine,
    fold_affine_before,
    fold_norm_before,
    norm_scale_shift,
    widen,
)
from mmfastvit.models.reparam.live import on_batch_statistics
from mmfastvit.models.reparam.reparameterizable import Reparameterizable

from .modules import Linear
from .norm import build_norm


class NormLinear(Reparameterizable):
    """linear(norm(x)) on tokens (B, N, C), the norm folded into the map.

    Args:
        in_channels: ``C`` of the tokens.
        out_channels: Channels of the result, (B, N, out_channels).
        norm_cfg: Config of the norm, a norm of (B, C, H, W) maps.
    """

    def __init__(self, in_channels: int, out_channels: int,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.norm = build_norm(norm_cfg, in_channels)
        self.linear = Linear(in_channels, out_channels, bias=False)

    @property
    def main(self) -> nn.Linear:
        return self.linear

    def norms(self) -> list[nn.Module]:
        return [self.norm]

    def equivalent(self) -> Affine:
        return fold_norm_before(self.linear.weight, self.linear.bias,
                                self.norm)

    def forward_live(self, x: Tensor) -> Tensor:
        norm = on_batch_statistics(self.norm, x.transpose(1, 2).unsqueeze(2))
        # A large mean, folded in, would cost digits (test_live.py guards it).
        centre = norm.running_mean.detach()
        x = (x - centre).to(x.dtype)
        norm = norm._replace(running_mean=norm.running_mean - centre)
        kernel, bias = self.linear.weight, self.linear.bias
        dtype = kernel.dtype
        if x.numel() // x.shape[2] < len(kernel):  # few tokens are smaller than it
            scale, shift = norm_scale_shift(norm)
            return F.linear(torch.addcmul(shift, x, scale).to(x.dtype), kernel, bias)
        kernel, bias = fold_norm_before(kernel, bias, norm)
        return F.linear(x, kernel.to(dtype), bias.to(dtype))

    def forward_branches(self, x: Tensor) -> Tensor:
        # (B, C, 1, N) and not (B, C, N, 1): with a last side of 1, torch
        # 2.11's batch norm can return wrong gradients for transposed views
        # (guarded by test_layers.py, case 'norm, linear').
        maps = x.transpose(1, 2).unsqueeze(2)
        return self.linear(self.norm(maps).squeeze(2).transpose(1, 2))


class LayerNormLinear(Reparameterizable):
    """linear(norm(x)) on tokens (B, N, C), with a layer norm over channels.

    Its scale and shift fold into the map, and give it a bias. What is left is a
    division by each token's own deviation, in float32 or wider, whatever autocast says.

    Args:
        in_channels: ``C`` of the tokens.
        out_channels: Channels of the result, (B, N, out_channels).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.linear = Linear(in_channels, out_channels, bias=False)
        self.eps = self.norm.eps

    @property
    def main(self) -> nn.Linear:
        return self.linear

    def norms(self) -> list[nn.Module]:
        return []  # none that depends on a mode

    def equivalent(self) -> Affine:
        return fold_affine_before(self.linear.weight, self.linear.bias,
                                  self.norm.weight, self.norm.bias)

    def _has_its_norm(self) -> bool:
        return type(self.norm) is nn.LayerNorm and self.norm.bias is not None

    def is_one_operation(self) -> bool:
        return self.fused is not None or (
            self._has_its_norm() and super().is_one_operation())

    def why_not_foldable(self) -> str | None:
        if self.fused is None and not self._has_its_norm():
            return (f'norm is {self.norm}, where a layer norm with scale and shift was '
                    'built')
        return super().why_not_foldable()

    def switch_to_deploy(self) -> None:
        folds = self.fused is None and self._has_its_norm()
        eps = self.norm.eps if folds else self.eps
        super().switch_to_deploy()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) -> (B, N, C')."""
        if not self.is_one_operation():
            return self.forward_branches(x)
        eps = self.eps if self.fused is not None else self.norm.eps
        standardized = F.layer_norm(widen(x), x.shape[-1:], eps=eps).to(x.dtype)
        return self.run(standardized, *self.kernel_and_bias())

    def forward_branches(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))
