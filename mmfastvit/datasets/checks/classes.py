"""Names of classes, and how many a model knows."""
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmfastvit.utils.errors import ArgumentError

# A setting of the config, for what could be meant though it hardly ever is.
OPT_OUT = 'If it is meant to be so, set check_data=False.'


def check_names(key: str, node: dict) -> None:
    """Raise :class:`ArgumentError` if ``metainfo.classes`` is no list of names.

    Args:
        key: Of the data set, dotted.
        node: Its setting.
    """
    classes = (node.get('metainfo') or {}).get('classes')
    if isinstance(classes, str):
        if Path(classes).is_file():  # MMEngine reads the names from it
            return
        raise ArgumentError(
            f'{key}.metainfo.classes is the string {classes!r}, of which every letter '
            f'would be a class. One class has a comma: '
            f'metainfo=dict(classes=({classes!r}, )). A file with a name a line is '
            'allowed, too, but there is none of that name.')
    if isinstance(classes, Sequence):
        twice = [name for i, name in enumerate(classes) if name in classes[:i]]
        if twice:
            raise ArgumentError(f'{key}.metainfo.classes names {twice[0]!r} twice. '
                                'Name each class once, each with a comma after it.')


def line(classes: Iterable[str]) -> str:
    """Return the line of a config that names the classes."""
    return f'metainfo=dict(classes={tuple(classes)!r})'


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of ``names``, in whatever case."""
    folded = {str(other).casefold(): other for other in names}
    found = get_close_matches(name.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def heads(cfg: dict) -> dict[str, int]:
    """Return (dotted key: number of classes) of each head that classifies.

    Heads of which it is not sure that they know the classes of the data are left
    out, and those whose config leaves the number to their default.
    """
    model = cfg.get('model') or {}
    model, prefix = ((model['detector'], 'model.detector') if 'detector' in model
                     else (model, 'model'))
    if not isinstance(model, dict) or 'language_model' in model:
        return {}  # the number is how many words a prompt has
    found = {}
    for owner, place in ((model, prefix),
                         (model.get('roi_head') or {}, f'{prefix}.roi_head')):
        for name in ('bbox_head', 'mask_head', 'decode_head', 'auxiliary_head',
                     'head'):
            for key, head in _each(owner.get(name), f'{place}.{name}'):
                count = head.get('num_classes')
                if (isinstance(count, int) and not head.get('class_agnostic')
                        # one of borders, for example
                        and not (name == 'auxiliary_head' and 'out_channels' in head)
                        # one output tells two classes apart
                        and not (name in ('decode_head', 'auxiliary_head')
                                 and count == 1)):
                    found[f'{key}.num_classes'] = count
    return found


def check_heads(numbers: dict[str, int], count: int, what: str,
                at_least: bool = False) -> None:
    """Raise :class:`ArgumentError` if a head knows another number of classes.

    Args:
        numbers: From :func:`heads`.
        count: How many classes the data has.
        what: Where that many classes are named.
        at_least: Allow more, because the data may not show all.
    """
    wrong = {key: number for key, number in numbers.items()
             if number < count or number > count and not at_least}
    if wrong:
        settings = ', '.join(f'{key}={number}' for key, number in wrong.items())
        options = ' '.join(f'{key}={count}' for key in wrong)
        raise ArgumentError(
            f'The config says {settings}, but {what}. Write --cfg-options {options}.'
            + (f' {OPT_OUT}' if min(wrong.values()) > count else ''))


def _each(value: Any, key: str) -> list[tuple[str, dict]]:
    if isinstance(value, (list, tuple)):
        pairs = [(f'{key}.{i}', item) for i, item in enumerate(value)]
    else:
        pairs = [(key, value)]
    return [(key, item) for key, item in pairs if isinstance(item, dict)]
