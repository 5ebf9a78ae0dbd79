"""Multi-head self-attention over all positions of a feature map."""

import torch.nn.functional as F
from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from mmfastvit.models.reparam.fusion import Affine, fold_norm_before
from mmfastvit.models.reparam.live import on_batch_statistics
from mmfastvit.models.reparam.reparameterizable import Reparameterizable

from .layer_scale import LayerScaled
from .modules import Linear
from .norm import build_norm

HEAD_CHANNELS = 32  # channels per attention head


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
        kernel, bias = fold_norm_before(self.linear.weight, self.linear.bias, norm)
        dtype = self.linear.weight.dtype
        return F.linear(x, kernel.to(dtype), bias.to(dtype))

    def forward_branches(self, x: Tensor) -> Tensor:
        # (B, C, 1, N) and not (B, C, N, 1): with a last side of 1, torch
        # 2.11's batch norm can return wrong gradients for transposed views
        # (guarded by test_layers.py, case 'norm, linear').
        maps = x.transpose(1, 2).unsqueeze(2)
        return self.linear(self.norm(maps).squeeze(2).transpose(1, 2))


class Attention(nn.Module):
    """s * proj(attention(qkv(norm(x)))), heads of 32 channels.

    The token mixer of an attention stage (FastViT, section 3.3), with the
    norm before it and the layer scale after it, which fold into ``qkv`` and
    ``proj``. ``qkv`` has no bias of its own.

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
        layer_scale_init_value: Start value of the layer scale.
        norm_cfg: Config of the norm.
    """

    def __init__(self, channels: int, layer_scale_init_value: float = 1e-5,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.qkv = NormLinear(channels, 3 * channels, norm_cfg)
        self.proj = LayerScaled(Linear(channels, channels),
                                layer_scale_init_value)
        for linear in (self.qkv.linear, self.proj.op):
            trunc_normal_init(linear, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        tokens = self.qkv(x.flatten(2).transpose(1, 2))  # (B, N, 3C)
        heads = x.shape[1] // HEAD_CHANNELS
        q, k, v = (part.view(*part.shape[:2], heads, HEAD_CHANNELS).transpose(1, 2)
                   for part in tokens.chunk(3, 2))  # (B, heads, N, 32) each
        out = F.scaled_dot_product_attention(q, k, v)
        out = self.proj(out.transpose(1, 2).flatten(2))  # (B, N, C)
        return out.transpose(1, 2).view(x.shape)
