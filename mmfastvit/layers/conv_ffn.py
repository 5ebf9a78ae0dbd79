"""ConvFFN, the feed-forward half of every block."""
from torch import Tensor, nn

from .init import truncated_normal_
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
        self.act = nn.GELU()
        self.fc2 = LayerScaled(nn.Conv2d(hidden_channels, channels, 1),
                               layer_scale_init_value)
        for conv in (self.conv.main, self.fc1, self.fc2.op):
            truncated_normal_(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        return self.fc2(self.act(self.fc1(self.conv(x))))
