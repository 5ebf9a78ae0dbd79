"""A layer norm of each pixel."""
from torch import Tensor, nn


class PixelNorm(nn.LayerNorm):
    """A layer norm over the channels of each pixel, (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
