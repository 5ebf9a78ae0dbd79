"""Whether the neck takes what the backbone gives; told before anything is built."""
from typing import Any

from mmengine.config import Config

from mmfastvit.models.arch import resolve
from mmfastvit.models.backbone import DENSE_STAGES
from mmfastvit.models.families import default_arch, find_family
from mmfastvit.utils.errors import ArgumentError

# They take every map they are given, in order.
_TAKE_ALL = ('FPN', 'ChannelMapper', 'MaskFormerHead', 'Mask2FormerHead')


def check_channels(cfg: Config) -> None:
    """Compare a backbone's widths with ``in_channels`` of the neck after it.

    PyTorch would say "expected input to have 96 channels, but got 64" after the data
    are read, and not where.

    Raises:
        ArgumentError: They differ; with the line to write.
    """
    _check(cfg.get('model'), 'model')


def _check(node: Any, place: str) -> None:
    if not isinstance(node, dict):
        return
    for name, child in node.items():  # a detector in another, for example
        _check(child, f'{place}.{name}')
    # Mask2Former has no neck; its head takes the maps.
    taker = 'neck' if node.get('neck') else 'panoptic_head'
    backbone, neck = node.get('backbone'), node.get(taker)
    if isinstance(neck, (list, tuple)) and neck:
        neck, taker = neck[0], f'{taker}.0'
    if not (isinstance(backbone, dict) and isinstance(neck, dict)):
        return
    family = find_family(_name(backbone.get('type')))
    if family is None:
        return
    wanted = neck.get('in_channels')
    several = isinstance(wanted, (list, tuple))
    if not several and not isinstance(wanted, int):
        return
    widths = resolve(backbone.get('arch', default_arch(family)),
                     family.weights_class.variants).embed_dims
    indices = backbone.get('out_indices')
    if indices is None:
        indices = range(min(len(widths), DENSE_STAGES))
    try:
        given = [widths[i] for i in indices]
    except (IndexError, TypeError):  # which the backbone refuses in better words
        return
    fits = set(wanted if several else [wanted]) <= set(given)
    if several and _name(neck.get('type')).endswith(_TAKE_ALL):
        fits = list(wanted) == given
    if not fits:
        right = str(given if several else given[-1]).replace(' ', '')
        raise ArgumentError(
            f'{place}.backbone gives maps of {given} channels, {place}.{taker} takes '
            f'{wanted}: write {place}.{taker}.in_channels={right} (on the '
            'command line after --cfg-options), and change heads after it that take '
            'other numbers then.')


def _name(kind: Any) -> str:
    """Return the name of a class, given as such or as a registry's string."""
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')
            ).rpartition('.')[2]
