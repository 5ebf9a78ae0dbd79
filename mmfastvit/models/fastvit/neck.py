"""The classifier's neck: expansion, squeeze-excite, pooling."""
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmfastvit.models.layers import RepConv, SqueezeExcite
from mmfastvit.models.reparam import reparameterize


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
