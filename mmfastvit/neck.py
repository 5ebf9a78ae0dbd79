"""The classifier's neck: expansion, squeeze-excite, pooling."""
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from .layers import RepConv
from .reparam import reparameterize


class SqueezeExcite(nn.Module):
    """Scale channels by what the whole map holds (arXiv 1709.01507).

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
        ratio: Squeezed channels over channels.
    """

    def __init__(self, channels: int, ratio: float = 1 / 16):
        super().__init__()
        squeezed = int(channels * ratio)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        scale = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.act(self.reduce(scale))).sigmoid()


@MODELS.register_module()
class FastViTNeck(BaseModule):
    """What FastViT's classifier does between backbone and linear head.

    A depthwise 3x3 MobileOne block that doubles the channels, with
    squeeze-excite before its GELU, then global average pooling: for an
    MMPretrain ``ImageClassifier`` whose backbone is a ``FastViT`` with
    ``out_indices=(3,), out_norm_cfg=None``.

    Args:
        in_channels: Channels of the last stage.
        out_channels: Channels of the result; None means ``2 * in_channels``.
        norm_cfg: Config of every norm.
        deploy: Build the deploy form.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> neck = FastViTNeck(512)
        >>> neck((torch.rand(2, 512, 8, 8),))[0].shape
        torch.Size([2, 1024])
    """

    def __init__(self, in_channels: int, out_channels: int | None = None,
                 norm_cfg: dict = dict(type='BN'),
                 deploy: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        out_channels = out_channels or 2 * in_channels
        self.conv = RepConv(in_channels, out_channels, (3, 1),
                            groups=in_channels, norm_cfg=norm_cfg)
        self.se = SqueezeExcite(out_channels)
        self.act = nn.GELU()
        if deploy:
            self.switch_to_deploy()

    def forward(self, x: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """Map the last of several (B, C, H, W) to ((B, out_channels),)."""
        if not isinstance(x, Tensor):
            x = x[-1]
        return (self.act(self.se(self.conv(x))).mean((2, 3)),)

    def switch_to_deploy(self) -> None:
        """Re-parameterize in place."""
        reparameterize(self, inplace=True)
