"""The conditional position encoding before an attention stage."""

from torch import Tensor, nn

from mmfastvit.models.reparam.fusion import Affine, identity_kernel, widen
from mmfastvit.models.reparam.reparameterizable import Reparameterizable

from .modules import Conv2d


class RepCPE(Reparameterizable):
    """x + conv(x), a depthwise 7x7 with bias (FastViT, section 3.3).

    It has no norm, so it always runs as one convolution.

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 7, padding=3, groups=channels)

    @property
    def main(self) -> nn.Conv2d:
        return self.conv

    def norms(self) -> list[nn.Module]:
        return []

    def equivalent(self) -> Affine:
        kernel = widen(self.conv.weight) + identity_kernel(self.conv.weight)
        return kernel, widen(self.conv.bias)

    def forward_branches(self, x: Tensor) -> Tensor:
        return x + self.conv(x)
