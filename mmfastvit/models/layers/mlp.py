"""The feed-forward half of a transformer's layer."""

from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.reparam.intact import has_intact_parts

from .layer_scale import LayerScaled
from .modules import Linear


class Mlp(nn.Module):
    """s * fc2(gelu(fc1(x))) on tokens; the layer scale folds into ``fc2``.

    Args:
        channels: Channels ``C`` of the (B, N, C) input and output.
        hidden_channels: Channels between ``fc1`` and ``fc2``.
        layer_scale_init_value: Start value of the layer scale, or None for none.
    """

    def __init__(self, channels: int, hidden_channels: int,
                 layer_scale_init_value: float | None = None):
        super().__init__()
        self.fc1 = Linear(channels, hidden_channels)
        self.fc2 = LayerScaled(Linear(hidden_channels, channels),
                               layer_scale_init_value)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) -> (B, N, C)."""
        if self._is_as_built():
            return ops.mlp(x, self.fc1.weight, self.fc1.bias,
                           *self.fc2.kernel_and_bias())
        return self.fc2(ops.gelu(self.fc1(x)))

    def _is_as_built(self) -> bool:
        return (has_intact_parts(self) and type(self.fc1) is Linear
                and self.fc1.bias is not None and isinstance(self.fc2, LayerScaled)
                and not self.fc2.always_branches)
