"""FastViT's variants, one row each, and those of its later members.

FastViT: arXiv 2303.14189, Table 1. MCi0 to MCi2 are MobileCLIP's image encoders
(arXiv 2311.17049), MCi3 and MCi4 MobileCLIP2's (2508.20691), FastViTHD is FastVLM's
(2412.13303).
"""
import re
from dataclasses import dataclass

from torch import Tensor

from mmfastvit.models.arch import check_positive, check_stages, resolve
from mmfastvit.models.layers.attention import HEAD_CHANNELS
from mmfastvit.utils.errors import ArgumentError

TOKEN_MIXERS = ('repmixer', 'attention')
ATTENTION_NORMS = ('BN', 'LN')


@dataclass(frozen=True)
class Variant:
    """What tells one FastViT from another; the defaults describe FastViT itself.

    Args:
        depths: Blocks in each stage; as many stages as entries.
        embed_dims: Channels of each stage, ``C`` of its (B, C, H, W) output;
            each a multiple of the one before.
        mlp_ratio: Hidden channels of a ConvFFN over its input channels.
        token_mixers: ``'repmixer'`` or ``'attention'`` for each stage. An
            attention stage starts with a conditional position encoding, and
            its channels are a multiple of 32, one head's width.
        layer_scale_init_value: Start value of every layer scale.
        downsample_act: Whether a GELU stands between the two layers of a
            downsampling. FastViT's own weights depend on its absence.
        downsample_se: Stages, from 0, whose downsampling has a squeeze-excite,
            before that GELU.
        attention_norm: Before attention, ``'BN'`` for the ``norm_cfg`` of the whole
            network, ``'LN'`` for a layer norm over the channels of each pixel.
        stem_scale: Whether the first two layers of the stem have a 1x1 branch.
        embedding_dims: Channels of the image's embedding, in a space that it shares
            with texts; None for networks that were not trained so.

    Raises:
        ArgumentError: A field does not describe a network.
    """

    depths: tuple[int, ...]
    embed_dims: tuple[int, ...]
    mlp_ratio: float
    token_mixers: tuple[str, ...]
    layer_scale_init_value: float = 1e-5
    downsample_act: bool = False
    downsample_se: tuple[int, ...] = ()
    attention_norm: str = 'BN'
    stem_scale: bool = True
    embedding_dims: int | None = None

    def __post_init__(self):
        check_stages(self, 'depths', 'embed_dims', 'token_mixers')
        check_positive(self, 'depths', 'embed_dims')
        for narrow, wide in zip(self.embed_dims, self.embed_dims[1:]):
            if wide % narrow:
                raise ArgumentError(
                    f'embed_dims={self.embed_dims}: {wide} is no multiple of '
                    f'{narrow}, which the depthwise downsampling needs.')
        if not (isinstance(self.mlp_ratio, (int, float))
                and self.mlp_ratio > 0):
            raise ArgumentError(f'mlp_ratio={self.mlp_ratio!r}: give a positive '
                             'number; the published variants use 3 or 4.')
        for mixer, channels in zip(self.token_mixers, self.embed_dims):
            if mixer not in TOKEN_MIXERS:
                raise ArgumentError(f'token mixer {mixer!r} is unknown; allowed '
                                 f'are {", ".join(TOKEN_MIXERS)}.')
            if mixer == 'attention' and channels % HEAD_CHANNELS:
                raise ArgumentError(
                    f'an attention stage of {channels} channels does not '
                    f'divide into heads of {HEAD_CHANNELS}: choose a multiple '
                    f'of {HEAD_CHANNELS}.')
        if self.attention_norm not in ATTENTION_NORMS:
            raise ArgumentError(f'attention_norm={self.attention_norm!r}: allowed are '
                                f'{", ".join(ATTENTION_NORMS)}.')
        downsampling = range(1, len(self.depths))
        if (not isinstance(self.downsample_se, (list, tuple))
                or any(i not in downsampling for i in self.downsample_se)):
            raise ArgumentError(
                f'downsample_se={self.downsample_se!r}: give a sequence of stages that '
                f'downsample, out of {tuple(downsampling)}.')
        object.__setattr__(self, 'downsample_se', tuple(self.downsample_se))


_CONV = ('repmixer', 'repmixer', 'repmixer', 'repmixer')
_HYBRID = ('repmixer', 'repmixer', 'repmixer', 'attention')
_HYBRID_5 = (*_HYBRID, 'attention')
_MCI = dict(downsample_act=True, downsample_se=(2, 3), embedding_dims=512)
_MCI_5 = dict(downsample_act=True, attention_norm='LN', stem_scale=False,
              embedding_dims=768)

# The 1e-6 of the two largest comes from the reference code, not the paper;
# guarded by tests/models/test_variants.py.
VARIANTS = {
    't8': Variant((2, 2, 4, 2), (48, 96, 192, 384), 3, _CONV),
    't12': Variant((2, 2, 6, 2), (64, 128, 256, 512), 3, _CONV),
    's12': Variant((2, 2, 6, 2), (64, 128, 256, 512), 4, _CONV),
    'sa12': Variant((2, 2, 6, 2), (64, 128, 256, 512), 4, _HYBRID),
    'sa24': Variant((4, 4, 12, 4), (64, 128, 256, 512), 4, _HYBRID),
    'sa36': Variant((6, 6, 18, 6), (64, 128, 256, 512), 4, _HYBRID, 1e-6),
    'ma36': Variant((6, 6, 18, 6), (76, 152, 304, 608), 4, _HYBRID, 1e-6),
    'mci0': Variant((2, 6, 10, 2), (64, 128, 256, 512), 3, _HYBRID, **_MCI),
    'mci1': Variant((4, 12, 20, 4), (64, 128, 256, 512), 3, _HYBRID, **_MCI),
    'mci2': Variant((4, 12, 24, 4), (80, 160, 320, 640), 3, _HYBRID, **_MCI),
    'mci3': Variant((2, 12, 24, 4, 2), (96, 192, 384, 768, 1536), 4, _HYBRID_5,
                    **_MCI_5),
    'mci4': Variant((2, 12, 24, 4, 4), (128, 256, 512, 1024, 2048), 4, _HYBRID_5,
                    **_MCI_5),
}
VARIANTS['fastvithd'] = VARIANTS['mci3']  # with weights of its own


def resolve_arch(arch: str | dict) -> Variant:
    """Return the variant that ``arch`` names or describes.

    Raises:
        ArgumentError: There is none.

    Example:
        >>> resolve_arch('sa12').embed_dims
        (64, 128, 256, 512)
    """
    return resolve(arch, VARIANTS)


def name_variant(weights: dict[str, Tensor]) -> str:
    """Name the variant whose depths and widths a state dict has.

    Its last stages may be missing, as of a network for dense prediction.

    Args:
        weights: Under our names.
    """
    depths, widths, ratio = {}, {}, 0
    for name, value in weights.items():
        match = re.match(r'stages\.(\d+)\.blocks\.(\d+)\.ffn\.fc1\.weight', name)
        if match and value.ndim == 4:
            stage, block = map(int, match.groups())
            depths[stage] = max(depths.get(stage, 0), block + 1)
            widths[stage] = value.shape[1]
            ratio = value.shape[0] / value.shape[1]
    shape = (tuple(depths[stage] for stage in sorted(depths)),
             tuple(widths[stage] for stage in sorted(widths)), ratio)
    stages = len(depths)
    attends = any('.qkv.' in name for name in weights)
    for name, variant in VARIANTS.items():
        if (stages and attends == ('attention' in variant.token_mixers[:stages])
                and shape == (variant.depths[:stages], variant.embed_dims[:stages],
                              variant.mlp_ratio)):
            return name
    return (f'a network of depths {shape[0]}, widths {shape[1]} and MLP '
            f'ratio {ratio:g}')
