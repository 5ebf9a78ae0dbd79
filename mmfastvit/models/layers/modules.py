"""PyTorch's convolution and linear layer, computed by :mod:`mmfastvit.ops`."""
from torch import Tensor, nn

from mmfastvit import ops


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``.

    A strided 1x1 convolution picks the pixels that it sees first. That is exact, and
    avoids oneDNN's stride-2 backward pass, which in torch 2.11 corrupts memory below
    16 channels in channels_last (tests/engine/test_memory_format.py).
    """

    def _conv_forward(self, x: Tensor, kernel: Tensor,
                      bias: Tensor | None) -> Tensor:
        if self.padding_mode != 'zeros' or isinstance(self.padding, str):
            return super()._conv_forward(x, kernel, bias)
        stride = self.stride
        if (kernel.shape[2:] == (1, 1) and stride != (1, 1) and self.padding == (0, 0)
                and x.ndim == 4):
            x, stride = ops.pick(x, stride), (1, 1)
        return ops.conv2d(x, kernel, bias, stride, self.padding, self.dilation,
                          self.groups)


class Linear(nn.Linear):
    """``nn.Linear``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) -> (..., C')."""
        return ops.linear(x, self.weight, self.bias)
