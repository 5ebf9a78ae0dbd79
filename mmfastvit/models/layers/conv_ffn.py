"""ConvFFN, the feed-forward half of every block."""

from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.reparam.fusion import fold_norm_before
from mmfastvit.models.reparam.intact import has_intact_parts
from mmfastvit.models.reparam.live import on_batch_statistics

from .layer_scale import LayerScaled
from .rep_conv import RepConv


class ConvFFN(nn.Module):
    """s * fc2(gelu(fc1(norm(conv(x))))), with a depthwise 7x7 convolution.

    FastViT, section 3.3. The norm folds into the convolution, the layer scale
    into ``fc2``. GELU is exact, not the tanh approximation.

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
        hidden_channels: Channels between ``fc1`` and ``fc2``.
        layer_scale_init_value: Start value of the layer scale.
        norm_cfg: Config of the norm.
    """

    def __init__(self, channels: int, hidden_channels: int,
                 layer_scale_init_value: float = 1e-5,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.conv = RepConv(channels, channels, (7,), groups=channels,
                            norm_cfg=norm_cfg)
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.fc2 = LayerScaled(nn.Conv2d(hidden_channels, channels, 1),
                               layer_scale_init_value)
        for conv in (self.conv.main, self.fc1, self.fc2.op):
            trunc_normal_init(conv, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        if not self._is_as_built() or self.fc2.always_branches:
            return self.fc2(ops.gelu(self.fc1(self.conv(x))))
        kernel, bias = self.fc1.weight, self.fc1.bias
        is_live = self.conv.is_live()
        if (is_live and self.fc2.fused is None
                and x.numel() // x.shape[1] < len(kernel)):
            # Of few pixels, a map is smaller than a kernel: norm and scale go to it.
            fc2 = self.fc2.op
            x = ops.feed_forward(self.conv(x), kernel, bias, fc2.weight, fc2.bias,
                                 inplace=True)
            return self.fc2.scaled(x).to(x.dtype)
        if is_live:
            # The norm folds into fc1: neither is its output needed.
            (x, [term]), = self.conv.terms(x)
            folded, bias = (t.to(kernel.dtype) for t in fold_norm_before(
                kernel.flatten(1), bias, on_batch_statistics(term.norm, x)))
            kernel = folded[:, :, None, None]
        else:
            x = self.conv(x)
        return ops.feed_forward(x, kernel, bias, *self.fc2.kernel_and_bias(),
                                inplace=True)

    def _is_as_built(self) -> bool:
        return (has_intact_parts(self) and isinstance(self.conv, RepConv)
                and isinstance(self.fc2, LayerScaled)
                and _is_pointwise(self.fc1) and _is_pointwise(self.fc2.operation))


def _is_pointwise(conv: nn.Module) -> bool:
    return (type(conv) is nn.Conv2d and conv.bias is not None and conv.groups == 1
            and conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0))
