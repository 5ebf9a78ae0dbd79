"""Squeeze-and-excitation."""
from torch import Tensor, nn


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
