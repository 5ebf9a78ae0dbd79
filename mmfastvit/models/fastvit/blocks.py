"""The pieces a FastViT is stacked from: stem, downsampling, blocks, stages."""
from collections.abc import Sequence

from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.backbone import run_block
from mmfastvit.models.layers import (
    Attention,
    ConvFFN,
    ConvStem,
    DropPath,
    RepConv,
    RepCPE,
    RepMixer,
    SqueezeExcite,
    conv_of_gelu,
)
from mmfastvit.models.reparam.intact import has_intact_parts

from .variants import Variant


class Stem(ConvStem):
    """Three MobileOne blocks, each with a GELU; the first two have stride 2.

    Section 3.2 of the paper.

    Maps (B, in_channels, H, W) to (B, C, H/4, W/4), rounded up, with the ``C`` of the
    variant's first stage.
    """

    def __init__(self, in_channels: int, variant: Variant, norm_cfg: dict):
        channels = variant.embed_dims[0]
        kernel_sizes = (3, 1) if variant.stem_scale else (3,)
        super().__init__(
            RepConv(in_channels, channels, kernel_sizes, stride=2,
                    norm_cfg=norm_cfg),
            RepConv(channels, channels, kernel_sizes, stride=2, groups=channels,
                    norm_cfg=norm_cfg),
            RepConv(channels, channels, (1,), skip=True, norm_cfg=norm_cfg))


class Downsample(nn.Sequential):
    """Large-kernel convolution of stride 2, then a 1x1 MobileOne block.

    Figure 2 of the paper draws an activation between the two. The reference
    computes one and throws it away, and FastViT's published weights depend on its
    absence (guarded by tests/models/test_reference.py). Its later members have it,
    some with a squeeze-excite before it.

    Maps (B, C, H, W) to (B, C', H/2, W/2), rounded up.

    Args:
        variant: The numbers of the network.
        index: The stage, from 1, that it leads to.
        norm_cfg: Config of every norm.
    """

    def __init__(self, variant: Variant, index: int, norm_cfg: dict):
        in_channels, out_channels = variant.embed_dims[index - 1:index + 1]
        super().__init__(
            RepConv(in_channels, out_channels, (7, 3), stride=2,
                    groups=in_channels, norm_cfg=norm_cfg),
            RepConv(out_channels, out_channels, (1,), skip=True,
                    norm_cfg=norm_cfg))
        self.act = variant.downsample_act
        self.se: SqueezeExcite | None = None
        if index in variant.downsample_se:
            self.se = SqueezeExcite(out_channels, ratio=1 / 4)

    def forward(self, x: Tensor) -> Tensor:
        large, pointwise = self[0], self[1]
        intact = has_intact_parts(self)
        x = large(x)
        if self.se is not None:
            x = self.se(x)
        x = conv_of_gelu(pointwise, x, intact) if self.act else pointwise(x)
        return ops.gelu(x, inplace=intact)


class RepMixerBlock(nn.Module):
    """RepMixer, which holds its own residual, then a ConvFFN with one."""

    def __init__(self, channels: int, variant: Variant, drop_path_rate: float,
                 norm_cfg: dict):
        super().__init__()
        scale = variant.layer_scale_init_value
        self.token_mixer = RepMixer(channels, scale, norm_cfg)
        self.ffn = ConvFFN(channels, int(channels * variant.mlp_ratio), scale,
                           norm_cfg)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        x = self.token_mixer(x)
        return ops.add(x, self.drop_path(self.ffn(x)),
                       inplace=has_intact_parts(self))


class AttentionBlock(nn.Module):
    """Attention and a ConvFFN, each with a residual."""

    def __init__(self, channels: int, variant: Variant, drop_path_rate: float,
                 norm_cfg: dict):
        super().__init__()
        scale = variant.layer_scale_init_value
        self.token_mixer = Attention(channels, scale, norm_cfg,
                                     layer_norm=variant.attention_norm == 'LN')
        self.ffn = ConvFFN(channels, int(channels * variant.mlp_ratio), scale,
                           norm_cfg)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C, H, W)."""
        inplace = has_intact_parts(self)
        x = ops.add(x, self.drop_path(self.token_mixer(x)), inplace)
        return ops.add(x, self.drop_path(self.ffn(x)), inplace)


_BLOCKS = {'repmixer': RepMixerBlock, 'attention': AttentionBlock}


class Stage(nn.Module):
    """Downsampling, position encoding where blocks attend, and the blocks.

    Args:
        variant: The numbers of the network.
        index: Which of its stages, from 0; the first does not downsample.
        drop_path_rates: One rate for each block.
        norm_cfg: Config of every norm.
        with_cp: Recompute each block in the backward pass instead of saving
            its activations.
    """

    def __init__(self, variant: Variant, index: int,
                 drop_path_rates: Sequence[float], norm_cfg: dict,
                 with_cp: bool):
        super().__init__()
        channels = variant.embed_dims[index]
        token_mixer = variant.token_mixers[index]
        self.with_cp = with_cp
        self.downsample: Downsample | None = None
        self.position_encoding: RepCPE | None = None
        if index > 0:
            self.downsample = Downsample(variant, index, norm_cfg)
        if token_mixer == 'attention':
            self.position_encoding = RepCPE(channels)
        self.blocks = nn.ModuleList(
            _BLOCKS[token_mixer](channels, variant, rate, norm_cfg)
            for rate in drop_path_rates)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H/2, W/2); keep H, W in stage 0."""
        if self.downsample is not None:
            x = self.downsample(x)
        if self.position_encoding is not None:
            x = self.position_encoding(x)
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return x
