"""Weights that NVIDIA publishes, one row each: address, licence, figures.

Nothing is hosted here. No figure is ours; NVIDIA gives no checksums.
"""
from mmfastvit.checkpoints.published import IMAGENET, Publications, Published

from .variants import VARIANTS

_HUB = 'https://huggingface.co/ahatamiz/FasterViT/resolve/main/'
_21K = tuple(name for name in VARIANTS if '21k' in name)


def _row(file: str, variants: tuple[str, ...], size: int, **figures: float
         ) -> Published:
    return Published(
        f'{_HUB}{file}.pth.tar', variants, 'NVIDIA Source Code License-NC',
        'not for commercial use', **IMAGENET, size=size, measure='ImageNet-1k top-1',
        figures=figures, source='NVlabs/FasterViT')


PUBLISHED = {
    **{f'nvidia://fastervit_{i}_224_1k': _row(f'fastervit_{i}_224_1k', (str(i), ), 224,
                                              **{str(i): figure})
       for i, figure in enumerate((82.1, 83.2, 84.2, 84.9, 85.4, 85.6, 85.8))},
    # Weights do not depend on windows: each fits all four.
    **{f'nvidia://fastervit_4_21k_{size}': _row(f'fastervit_4_21k_{size}_w{side}', _21K,
                                                size, **{f'4_21k_{size}': figure})
       for size, side, figure in ((224, 14, 86.6), (384, 24, 87.6), (512, 32, 87.8),
                                  (768, 48, 87.9))},
}
NVIDIA = Publications('NVIDIA', 'nvidia://', PUBLISHED)
