"""The seven FastViT variants (arXiv 2303.14189, Table 1): one row each."""
from dataclasses import dataclass, fields

from mmfastvit.models.layers.attention import HEAD_CHANNELS
from mmfastvit.utils.errors import ArgumentError

TOKEN_MIXERS = ('repmixer', 'attention')


@dataclass(frozen=True)
class Variant:
    """What tells one FastViT from another.

    Args:
        depths: Blocks in each stage; as many stages as entries.
        embed_dims: Channels of each stage, ``C`` of its (B, C, H, W) output;
            each a multiple of the one before.
        mlp_ratio: Hidden channels of a ConvFFN over its input channels.
        token_mixers: ``'repmixer'`` or ``'attention'`` for each stage. An
            attention stage starts with a conditional position encoding, and
            its channels are a multiple of 32, one head's width.
        layer_scale_init_value: Start value of every layer scale.

    Raises:
        ArgumentError: A field does not describe a network.
    """

    depths: tuple[int, ...]
    embed_dims: tuple[int, ...]
    mlp_ratio: float
    token_mixers: tuple[str, ...]
    layer_scale_init_value: float = 1e-5

    def __post_init__(self):
        for name in ('depths', 'embed_dims', 'token_mixers'):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):
                raise ArgumentError(f'{name}={value!r}: give a sequence, one entry '
                                    'for each stage.')
            value = tuple(value)
            object.__setattr__(self, name, value)  # a config brings lists
            if not value or len(value) != len(self.depths):
                raise ArgumentError(
                    f'{name}={value} has {len(value)} entries, depths='
                    f'{self.depths} {len(self.depths)}: give one entry for each '
                    'stage in each of them.')
        for name in ('depths', 'embed_dims'):
            if not all(isinstance(n, int) and n > 0
                       for n in getattr(self, name)):
                raise ArgumentError(
                    f'{name}={getattr(self, name)}: give positive integers.')
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


_CONV = ('repmixer', 'repmixer', 'repmixer', 'repmixer')
_HYBRID = ('repmixer', 'repmixer', 'repmixer', 'attention')

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
}


def resolve_arch(arch: str | dict) -> Variant:
    """Return the variant that ``arch`` names or describes.

    Args:
        arch: One of ``VARIANTS``, in any case, or a dict with the fields of
            :class:`Variant`.

    Raises:
        ArgumentError: The name is unknown, the dict is incomplete or wrong,
            or ``arch`` is neither.

    Example:
        >>> resolve_arch('sa12').embed_dims
        (64, 128, 256, 512)
    """
    if isinstance(arch, str):
        if arch.lower() not in VARIANTS:
            raise ArgumentError(
                f'arch={arch!r} is unknown; the variants are '
                f'{", ".join(VARIANTS)}. Give one of them, or a dict with the '
                'fields of mmfastvit.models.fastvit.variants.Variant.')
        return VARIANTS[arch.lower()]
    if not isinstance(arch, dict):
        raise ArgumentError(f'arch is a {type(arch).__name__}; give a name '
                        f'({", ".join(VARIANTS)}) or a dict.')
    known = [field.name for field in fields(Variant)]
    required = known[:-1]  # the last, layer_scale_init_value, has a default
    missing = [name for name in required if name not in arch]
    unknown = [name for name in arch if name not in known]
    if missing or unknown:
        raise ArgumentError(
            f'the arch dict has the fields {sorted(arch)}'
            + (f', lacks {missing}' if missing else '')
            + (f', and {unknown} are unknown' if unknown else '')
            + f'; required are {required}, allowed are {known}.')
    return Variant(**arch)
