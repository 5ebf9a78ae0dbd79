"""The first layers of a network, on its largest maps."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.reparam.intact import has_intact_parts

from .rep_conv import RepConv

ACTIVATIONS = ('gelu', 'relu')


class ConvStem(nn.Sequential):
    """Convolutions of stride 4 together, each with an activation after it.

    Maps (B, C, H, W) to (B, C', H/4, W/4), rounded up.

    Args:
        convs: 3x3 or 1x1; the first two have stride 2, any other 1.
        act: Of ``ACTIVATIONS``.
    """

    def __init__(self, *convs: RepConv, act: str = 'gelu'):
        super().__init__(*convs)
        self.act = act
        first = convs[0].main
        # Values of the largest map, at half the size, for each of the image.
        self.growth = first.out_channels / first.in_channels / 4
        self.built = self._geometry()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H/4, W/4)."""
        if has_intact_parts(self) and all(
                isinstance(conv, RepConv) and conv.is_one_operation() for conv in self):
            parameters = [t for conv in self for t in conv.kernel_and_bias()]
            if self._geometry() == self.built:
                return ops.in_strips(self._run, x, self.growth, 4, *parameters)
            return self._run(x, *parameters)
        for conv in self:
            x = F.relu(conv(x)) if self.act == 'relu' else ops.gelu(
                conv(x), inplace=has_intact_parts(self))
        return x

    def _geometry(self) -> list[tuple]:
        """Return what strips depend on: how far each row sees."""
        return [(op.kernel_size, op.stride, op.padding, op.dilation)
                for op in (conv.operation for conv in self)]

    def _run(self, x: Tensor, *parameters: Tensor) -> Tensor:
        relu = self.act == 'relu'
        for i, conv in enumerate(self):
            x = conv.run(x, *parameters[2 * i:2 * i + 2],
                         after_gelu=i > 0 and not relu)
            if relu:
                x = x.relu_()
        return x if relu else ops.gelu(x, inplace=True)
