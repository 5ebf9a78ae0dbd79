"""Stochastic depth. Own code so that the package needs neither torchvision
nor mmcv, which both have one."""
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero a residual branch for whole samples while training (1603.09382).

    The kept samples are scaled by 1 / (1 - rate), so the mean stays.

    Args:
        rate: Probability of dropping a sample, in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, …) -> (B, …); a sample is an entry of the first axis."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((len(x), *[1] * (x.ndim - 1))).bernoulli_(1 - self.rate)
        return x * keep.div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f'rate={self.rate:.3f}'
