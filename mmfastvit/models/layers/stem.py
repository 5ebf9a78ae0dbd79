"""The first layers of a network, on its largest maps."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.reparam.intact import has_intact_parts
from mmfastvit.models.reparam.live import sum_of_norms

from .rep_conv import RepConv

ACTIVATIONS = ('gelu', 'relu')


class ConvStem(nn.Sequential):
    """Convolutions of stride 4 together, each with an activation after it.

    Maps (B, C, H, W) to (B, C', H/4, W/4), rounded up.

    Args:
        convs: Two of 3x3 and stride 2, then any of 1x1 and stride 1.
        act: Of ``ACTIVATIONS``.
    """

    def __init__(self, *convs: RepConv, act: str = 'gelu'):
        super().__init__(*convs)
        self.act = act
        self.built = self._geometry()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H/4, W/4)."""
        if has_intact_parts(self) and all(
                isinstance(conv, RepConv) and conv.is_one_operation() for conv in self):
            if self._geometry() == self.built:
                return ops.conv_stem(
                    x, self.act, [conv.operation.stride[0] for conv in self],
                    [t for conv in self for t in conv.kernel_and_bias()])
        convs = list(self)
        if self._is_live(x):
            first, second, *convs = convs
            maps = ops.stem_maps(
                x, self.act, *first.live_kernel_and_bias(x), second.main.weight,
                any(branch.only_scales for branch in second.convs))
            x = self._activate(sum_of_norms(second.terms_of(maps[-1], maps[:1])))
        for conv in convs:
            x = self._activate(conv(x))
        return x

    def _activate(self, x: Tensor) -> Tensor:
        if self.act == 'relu':
            return F.relu(x)
        return ops.gelu(x, inplace=has_intact_parts(self))

    def _is_live(self, x: Tensor) -> bool:
        """Whether no batch statistics depend on the first convolution's map."""
        first, second = list(self)[:2]
        return (has_intact_parts(self) and isinstance(first, RepConv)
                and isinstance(second, RepConv) and self._geometry() == self.built
                and first.is_live() and first.knows_statistics(x) and second.is_live()
                and second.skip is None and second.main.bias is None
                and sum(not branch.only_scales for branch in second.convs) == 1)

    def _geometry(self) -> list[tuple]:
        """Return what :func:`mmfastvit.ops.conv_stem` takes for granted."""
        return [(op.kernel_size, op.stride, op.padding, op.dilation)
                for op in (conv.operation for conv in self)]
