"""Weights that Apple publishes, one row each: address, licence, preprocessing, figures.

Nothing is hosted here. No figure is ours; Apple gives no checksums.
"""
from collections.abc import Mapping

from mmfastvit.checkpoints.published import IMAGENET, Publications, Published

_APPLE = 'https://docs-assets.developer.apple.com/ml-research'
_HUB = 'https://huggingface.co/apple/{}/resolve/main/{}'

_OPENAI = dict(mean=(122.7709, 116.7460, 104.0937), std=(68.5005, 66.6322, 70.3232))
_UNIT = dict(mean=(0., 0., 0.), std=(255., 255., 255.))  # pixels from 0 to 1
_SAMPLE_CODE = dict(licence='the licence of apple/ml-fastvit', restriction='')
_RESEARCH = dict(licence='Apple Machine Learning Research Model licence',
                 restriction='for research, not for commercial use; what is trained '
                 'from these weights falls under it, too')
_TOP_1 = 'ImageNet-1k top-1'
_ZERO_SHOT = 'ImageNet-1k zero-shot top-1'


def _in1k(folder: str, figures: Mapping[str, float]) -> Published:
    return Published(f'{_APPLE}/models/fastvit/{folder}/fastvit_{{arch}}.pth.tar',
                     tuple(figures), **_SAMPLE_CODE, **IMAGENET, size=256,
                     measure=_TOP_1, figures=figures, source='apple/ml-fastvit')


def _clip(address: str, arch: str, figure: float, scale: dict) -> Published:
    return Published(address, (arch,) if arch != 'mci3' else ('mci3', 'fastvithd'),
                     **_RESEARCH, **scale, size=256, measure=_ZERO_SHOT,
                     figures={arch: figure}, source='apple/ml-mobileclip')


def _fastvlm(size: str, file: str) -> Published:
    return Published(_HUB.format(f'FastVLM-{size}', file), ('fastvithd', 'mci3'),
                     **_RESEARCH, **_UNIT, size=1024, fused=True)


PUBLISHED = {
    'apple://in1k': _in1k('image_classification_models', dict(
        t8=76.2, t12=79.3, s12=79.9, sa12=80.9, sa24=82.7, sa36=83.6, ma36=83.9)),
    'apple://in1k_distilled': _in1k('image_classification_distilled_models', dict(
        t8=77.2, t12=80.3, s12=81.1, sa12=81.9, sa24=83.4, sa36=84.2, ma36=84.6)),
    **{f'apple://mobileclip_s{i}': _clip(
        f'{_APPLE}/datasets/mobileclip/mobileclip_s{i}.pt', f'mci{i}', figure, _UNIT)
       for i, figure in enumerate((67.8, 72.6, 74.4))},
    **{f'apple://mobileclip_s{i}': _clip(
        _HUB.format(f'MobileCLIP-S{i}', f'mobileclip_s{i}.pt'), f'mci{i}', figure,
        _OPENAI)
       for i, figure in ((3, 78.3), (4, 79.4))},
    **{f'apple://mobileclip2_s{i}': _clip(
        _HUB.format(f'MobileCLIP2-S{i}', f'mobileclip2_s{i}.pt'), f'mci{i}', figure,
        scale)
       for i, figure, scale in ((0, 71.5, _UNIT), (2, 77.2, _UNIT), (3, 80.7, _OPENAI),
                                (4, 81.9, _OPENAI))},
    'apple://fastvlm_0.5b': _fastvlm('0.5B', 'model.safetensors'),
    **{f'apple://fastvlm_{size.lower()}': _fastvlm(
        size, 'model.safetensors.index.json') for size in ('1.5B', '7B')},
}

APPLE = Publications('Apple', 'apple://', PUBLISHED)
