"""FasterViT's variants, one row each (arXiv 2306.06189, Table 1 and supplement)."""
import re
from dataclasses import dataclass

from torch import Tensor

from mmfastvit.models.arch import check_positive, check_stages
from mmfastvit.utils.errors import ArgumentError

TOKEN_MIXERS = ('conv', 'window', 'carrier')


@dataclass(frozen=True)
class Variant:
    """What tells one FasterViT from another.

    Args:
        depths: Blocks in each stage; as many stages as entries.
        embed_dims: Channels of each stage, ``C`` of its (B, C, H, W) output.
        stem_channels: Channels between the stem's two convolutions.
        num_heads: Heads of attention in each stage; without effect where blocks are
            convolutional.
        drop_path_rate: Stochastic depth of the last block, if a config gives none.
        token_mixers: Of each stage: ``'conv'`` for residual convolution blocks,
            ``'window'`` for attention within windows, ``'carrier'`` for that with
            carrier tokens, which attend to each other across windows.
        window_sizes: Side of a window in each stage, in tokens.
        carrier_size: Side of a window's square of carrier tokens.
        mlp_ratio: Hidden channels of a feed-forward over its input channels.
        layer_scale_init_value: Start value of every layer scale; None for none.
        propagates: Whether the last block of a stage adds its carrier tokens to the
            windows.

    Raises:
        ArgumentError: A field does not describe a network.
    """

    depths: tuple[int, ...]
    embed_dims: tuple[int, ...]
    stem_channels: int
    num_heads: tuple[int, ...]
    drop_path_rate: float = 0.
    token_mixers: tuple[str, ...] = ('conv', 'conv', 'carrier', 'window')
    window_sizes: tuple[int, ...] = (7, 7, 7, 7)
    carrier_size: int = 2
    mlp_ratio: float = 4
    layer_scale_init_value: float | None = None
    propagates: bool = False

    def __post_init__(self):
        check_stages(self, 'depths', 'embed_dims', 'num_heads', 'token_mixers',
                     'window_sizes')
        check_positive(self, 'depths', 'embed_dims', 'num_heads', 'window_sizes')
        for name in ('stem_channels', 'carrier_size'):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f'{name}={value!r}: give a positive integer.')
        if not (isinstance(self.mlp_ratio, (int, float)) and self.mlp_ratio > 0):
            raise ArgumentError(f'mlp_ratio={self.mlp_ratio!r}: give a positive '
                                'number; the published variants use 4.')
        for mixer, channels, heads, side in zip(
                self.token_mixers, self.embed_dims, self.num_heads,
                self.window_sizes):
            if mixer not in TOKEN_MIXERS:
                raise ArgumentError(f'token mixer {mixer!r} is unknown; allowed '
                                    f'are {", ".join(TOKEN_MIXERS)}.')
            if mixer != 'conv' and channels % heads:
                raise ArgumentError(
                    f'num_heads={self.num_heads}: {channels} channels do not divide '
                    f'into {heads} heads; choose a divisor.')
            if mixer == 'carrier' and side < self.carrier_size:
                raise ArgumentError(
                    f'window_sizes={self.window_sizes}: a window of {side}x{side} '
                    f'tokens has no room for {self.carrier_size}x{self.carrier_size} '
                    'carrier tokens; choose a smaller carrier_size.')


_SCALED = dict(layer_scale_init_value=1e-5, propagates=True)
_HEADS, _MORE_HEADS = (2, 4, 8, 16), (4, 8, 16, 32)

VARIANTS = {
    '0': Variant((2, 3, 6, 5), (64, 128, 256, 512), 64, _HEADS, 0.2),
    '1': Variant((1, 3, 8, 5), (80, 160, 320, 640), 32, _HEADS, 0.2),
    '2': Variant((3, 3, 8, 5), (96, 192, 384, 768), 64, _HEADS, 0.2),
    '3': Variant((3, 3, 12, 5), (128, 256, 512, 1024), 64, _HEADS, 0.3, **_SCALED),
    '4': Variant((3, 3, 12, 5), (196, 392, 784, 1568), 64, _MORE_HEADS, 0.3, **_SCALED),
    '5': Variant((3, 3, 12, 5), (320, 640, 1280, 2560), 64, _MORE_HEADS, 0.3,
                 **_SCALED),
    '6': Variant((3, 3, 16, 8), (320, 640, 1280, 2560), 64, _MORE_HEADS, 0.5,
                 **_SCALED),
    # Fine-tuned from ImageNet-21k, at the size in the name.
    **{f'4_21k_{size}': Variant(
        (3, 3, 12, 5), (196, 392, 784, 1568), 64, _MORE_HEADS, 0.42,
        ('conv', 'conv', 'window', 'window'), (7, 7, *windows),
        layer_scale_init_value=1e-5)
       for size, windows in ((224, (14, 7)), (384, (24, 12)), (512, (32, 16)),
                             (768, (48, 24)))},
}


def name_variant(weights: dict[str, Tensor]) -> str:
    """Name the variant whose depths, widths and token mixers a state dict has.

    Windows leave no trace in weights: of the variants fine-tuned from ImageNet-21k
    the first is named.

    Args:
        weights: Under our names.
    """
    depths, widths = {}, {}
    for name, value in weights.items():
        match = re.match(r'stages\.(\d+)\.blocks\.(\d+)\.'
                         r'(?:conv1|window\.norm1)\..*weight', name)
        if match:
            stage, block = map(int, match.groups())
            depths[stage] = max(depths.get(stage, 0), block + 1)
            widths[stage] = len(value)
    shape = tuple(tuple(part[i] for i in sorted(part)) for part in (depths, widths))
    carries = any('.carrier.' in name for name in weights)
    stages = len(depths)
    for name, variant in VARIANTS.items():
        if (stages and shape == (variant.depths[:stages], variant.embed_dims[:stages])
                and carries == ('carrier' in variant.token_mixers[:stages])):
            return name
    return (f'a network of depths {shape[0]} and widths {shape[1]} '
            f'{"with" if carries else "without"} carrier tokens')
