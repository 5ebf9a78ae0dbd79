"""The pieces a FasterViT is stacked from: stem, downsampling, blocks, stages."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.backbone import run_block
from mmfastvit.models.layers import (
    Conv2d,
    ConvStem,
    DropPath,
    LayerScaled,
    Linear,
    Mlp,
    PixelNorm,
    RepConv,
    conv_of_gelu,
)
from mmfastvit.models.layers.attention import multi_head
from mmfastvit.models.reparam.intact import has_intact_parts

from .carriers import CarrierTokens, Grid, spread, to_raster_order, to_window_order
from .positions import PositionEmbedding, RelativeBias
from .variants import Variant


class Stem(ConvStem):
    """Two 3x3 convolutions of stride 2, each with a norm and a ReLU.

    Maps (B, in_channels, H, W) to (B, C, H/4, W/4), rounded up.
    """

    def __init__(self, in_channels: int, variant: Variant, norm_cfg: dict):
        norm_cfg = dict(eps=1e-4) | norm_cfg
        hidden, channels = variant.stem_channels, variant.embed_dims[0]
        super().__init__(
            RepConv(in_channels, hidden, (3,), stride=2, norm_cfg=norm_cfg),
            RepConv(hidden, channels, (3,), stride=2, norm_cfg=norm_cfg), act='relu')


class Downsample(nn.Sequential):
    """A layer norm of each pixel, then a 3x3 convolution of stride 2.

    Maps (B, C, H, W) to (B, C', H/2, W/2), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            PixelNorm(in_channels, eps=1e-6),
            Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False))


class ConvBlock(nn.Module):
    """x + norm(conv(gelu(norm(conv(x)))))."""

    def __init__(self, channels: int, drop_path_rate: float, norm_cfg: dict):
        super().__init__()
        self.conv1, self.conv2 = (
            RepConv(channels, channels, (3,), norm_cfg=norm_cfg, bias=True)
            for _ in range(2))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        intact = has_intact_parts(self)
        branch = conv_of_gelu(self.conv2, self.conv1(x), intact)
        return ops.add(x, self.drop_path(branch), intact)


class BiasedAttention(nn.Module):
    """s * proj(attention(qkv(x))), with a bias for each way from key to query.

    Args:
        channels: Channels ``C`` of the (B, N, C) input and output.
        heads: How many.
        layer_scale_init_value: Start value of ``s``, or None for none.
        keeps_scale: As of :class:`LayerScaled`.
    """

    def __init__(self, channels: int, heads: int,
                 layer_scale_init_value: float | None, keeps_scale: bool = False):
        super().__init__()
        self.head_channels = channels // heads
        self.qkv = Linear(channels, 3 * channels)
        self.bias = RelativeBias(heads)
        self.proj = LayerScaled(Linear(channels, channels), layer_scale_init_value,
                                keeps_scale)

    def forward(self, x: Tensor, shape: tuple[int, int], others: int = 0,
                seen: Tensor | None = None) -> Tensor:
        """Map (B, N, C) -> (B, N, C).

        Args:
            x: Tokens of a grid, row by row.
            shape: Rows and columns of the grid.
            others: Tokens before those of the grid. Scores from and to them get no
                bias, which is not neutral: others get one from 0 to 16.
            seen: A scalar, 0 where the others are not to be seen, else 1.
        """
        bias = self.bias(*shape)
        if others:
            bias = F.pad(bias, (others, 0, others, 0))
        if seen is not None:
            hidden = torch.arange(bias.shape[2], device=x.device) < others
            bias = bias + torch.where(hidden, seen.log(), 0.).to(bias.dtype)
        return self.proj(multi_head(self.qkv(x), self.head_channels, bias))


class TransformerLayer(nn.Module):
    """Attention and a feed-forward, each after a layer norm and with a residual.

    Args:
        channels: Channels ``C`` of the tokens.
        heads: Of the attention.
        variant: The numbers of the network.
        drop_path_rate: Of both residuals.
        keeps_scale: As of :class:`LayerScaled`.
    """

    def __init__(self, channels: int, heads: int, variant: Variant,
                 drop_path_rate: float, keeps_scale: bool = False):
        super().__init__()
        scale = variant.layer_scale_init_value
        self.norm1 = nn.LayerNorm(channels)
        self.attn = BiasedAttention(channels, heads, scale, keeps_scale)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * variant.mlp_ratio), scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, shape: tuple[int, int], others: int = 0,
                seen: Tensor | None = None) -> Tensor:
        """Map (B, N, C) -> (B, N, C); arguments as of :class:`BiasedAttention`."""
        intact = has_intact_parts(self)
        x = ops.add(x, self.drop_path(self.attn(self.norm1(x), shape, others, seen)),
                    intact)
        return ops.add(x, self.drop_path(self.mlp(self.norm2(x))), intact)


class WindowBlock(nn.Module):
    """Carrier tokens attend to each other, then each window to its own and itself.

    Section 3.2 of the paper (hierarchical attention); without carrier tokens plain
    attention within windows. Stochastic depth drops pictures of the carrier tokens,
    and single windows.

    Args:
        channels: Channels ``C`` of the tokens.
        index: The stage.
        variant: The numbers of the network.
        drop_path_rate: Of all residuals.
        propagates: Whether carrier tokens are added to the windows in the end, times
            the layer scale of their attention.
    """

    def __init__(self, channels: int, index: int, variant: Variant,
                 drop_path_rate: float, propagates: bool):
        super().__init__()
        heads = variant.num_heads[index]
        self.propagates = propagates
        self.window_embed = PositionEmbedding(channels)
        self.window = TransformerLayer(channels, heads, variant, drop_path_rate)
        self.carrier_embed: PositionEmbedding | None = None
        self.carrier: TransformerLayer | None = None
        if variant.token_mixers[index] == 'carrier':
            self.carrier_embed = PositionEmbedding(channels)
            self.carrier = TransformerLayer(channels, heads, variant, drop_path_rate,
                                            keeps_scale=propagates)

    def forward(self, windows: Tensor, carriers: Tensor | None, grid: Grid,
                seen: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map tokens and carrier tokens to the same.

        Args:
            windows: (B * rows * columns, side * side, C).
            carriers: (B, rows * columns * carriers², C) in window order, or None.
            grid: How the windows lie.
            seen: A scalar, 0 where windows are not to see carrier tokens, else 1.
        """
        sides = grid.side, grid.side
        windows = windows + self.window_embed(*sides)
        if carriers is None:
            return self.window(windows, sides), None
        tokens = to_raster_order(carriers, grid) + self.carrier_embed(*grid.shape)
        tokens = to_window_order(self.carrier(tokens, grid.shape), grid)
        others = grid.carriers**2
        tokens = tokens.view(windows.shape[0], others, windows.shape[2])
        both = self.window(torch.cat([tokens, windows], 1), sides, others, seen)
        tokens, windows = both[:, :others], both[:, others:]
        if self.propagates:
            added = spread(tokens, grid)
            scale = self.carrier.attn.proj.layer_scale
            if scale is not None:
                added = scale * added
            windows = windows + (added if seen is None else seen * added)
        return windows, tokens.reshape(carriers.shape)


class ConvStage(nn.Module):
    """Downsampling, and convolution blocks.

    Args:
        variant: The numbers of the network.
        index: Which of its stages, from 0; the first does not downsample.
        drop_path_rates: One rate for each block.
        norm_cfg: Config of every norm.
        with_cp: Recompute blocks in the backward pass.
    """

    def __init__(self, variant: Variant, index: int, drop_path_rates: Sequence[float],
                 norm_cfg: dict, with_cp: bool):
        super().__init__()
        self.with_cp = with_cp
        self.downsample = _downsample(variant, index)
        self.blocks = nn.ModuleList(
            ConvBlock(variant.embed_dims[index], rate, norm_cfg)
            for rate in drop_path_rates)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H/2, W/2); keep H, W in stage 0."""
        if self.downsample is not None:
            x = self.downsample(x)
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return x


class WindowStage(nn.Module):
    """Downsampling, windows, transformer blocks on them, and the map again.

    Any size: zeros below and on the right fill the last windows, and take part in
    everything. A map that one window holds has no carrier tokens.

    Args: as of :class:`ConvStage`; there is no batch norm, so ``norm_cfg`` is not used.
    """

    def __init__(self, variant: Variant, index: int, drop_path_rates: Sequence[float],
                 norm_cfg: dict, with_cp: bool):
        super().__init__()
        channels = variant.embed_dims[index]
        self.with_cp = with_cp
        self.side = variant.window_sizes[index]
        self.downsample = _downsample(variant, index)
        self.carriers: CarrierTokens | None = None
        self.carrier_size = 0
        if variant.token_mixers[index] == 'carrier':
            self.carriers = CarrierTokens(channels)
            self.carrier_size = variant.carrier_size
        last = len(drop_path_rates) - 1
        self.blocks = nn.ModuleList(
            WindowBlock(channels, index, variant, rate,
                        variant.propagates and i == last and self.carrier_size > 0)
            for i, rate in enumerate(drop_path_rates))
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                trunc_normal_init(linear, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H/2, W/2); keep H, W in stage 0."""
        if self.downsample is not None:
            x = self.downsample(x)
        shape, side = x.shape, self.side
        grid = Grid(*(ops.windows_along(n, side) for n in shape[2:]), side,
                    self.carrier_size)
        carriers = seen = None
        if self.carriers is not None:
            several = grid.rows * grid.columns > 1
            if not isinstance(several, bool):  # a size that an exporter leaves open
                seen = torch.full((), grid.rows * grid.columns, device=x.device).gt(
                    1).to(x.dtype)
                several = True
            if several:
                carriers = self.carriers(x, grid)
        windows = ops.to_windows(x, side)
        for block in self.blocks:
            windows, carriers = run_block(block, self.with_cp, windows, carriers, grid,
                                          seen)
        return ops.from_windows(windows, side, shape)


STAGES = {'conv': ConvStage, 'window': WindowStage, 'carrier': WindowStage}


def _downsample(variant: Variant, index: int) -> Downsample | None:
    """Return what leads to the stage of an index; None for the first."""
    return Downsample(*variant.embed_dims[index - 1:index + 1]) if index else None
