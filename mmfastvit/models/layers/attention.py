"""Multi-head self-attention over all positions of a feature map."""

from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from mmfastvit import ops

from .layer_scale import LayerScaled
from .modules import Linear
from .norm_linear import LayerNormLinear, NormLinear

HEAD_CHANNELS = 32  # channels per attention head


class Attention(nn.Module):
    """s * proj(attention(qkv(norm(x)))), heads of 32 channels.

    The token mixer of an attention stage (FastViT, section 3.3), with the
    norm before it and the layer scale after it, which fold into ``qkv`` and
    ``proj``. ``qkv`` has no bias of its own.

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
        layer_scale_init_value: Start value of the layer scale.
        norm_cfg: Config of the norm.
        layer_norm: Take a layer norm over channels instead.
    """

    def __init__(self, channels: int, layer_scale_init_value: float = 1e-5,
                 norm_cfg: dict = dict(type='BN'), layer_norm: bool = False):
        super().__init__()
        self.qkv = LayerNormLinear(channels, 3 * channels) if layer_norm \
            else NormLinear(channels, 3 * channels, norm_cfg)
        self.proj = LayerScaled(Linear(channels, channels),
                                layer_scale_init_value)
        for linear in (self.qkv.linear, self.proj.op):
            trunc_normal_init(linear, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        tokens = self.qkv(x.flatten(2).transpose(1, 2))  # (B, N, 3C)
        out = self.proj(multi_head(tokens, HEAD_CHANNELS))  # (B, N, C)
        return out.transpose(1, 2).view(x.shape)


def multi_head(tokens: Tensor, head_channels: int, bias: Tensor | None = None
               ) -> Tensor:
    """Attend within each head: softmax(q k^T / sqrt(d) + bias) v.

    Args:
        tokens: (B, N, 3C): queries, keys and values, each head after head.
        head_channels: ``d``, channels of a head.
        bias: (heads, N, N), for queries and keys.

    Returns:
        (B, N, C), head after head.
    """
    b, n, channels = tokens.shape
    heads = channels // (3 * head_channels)
    q, k, v = (part.view(b, n, heads, head_channels).transpose(1, 2)
               for part in tokens.chunk(3, 2))  # (B, heads, N, d) each
    return ops.attention(q, k, v, bias).transpose(1, 2).flatten(2)
