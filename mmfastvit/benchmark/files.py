"""A model's files beside each other: size, time, metric and difference."""
import re
from collections.abc import Sequence
from pathlib import Path

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.files import whole_file
from mmfastvit.utils.tables import markdown

from .contestants import EXPORTED
from .report import MIB, machine
from .results import Result

NAMES = {'coco/bbox_mAP_50': 'box AP50', 'coco/segm_mAP_50': 'mask AP50',
         'mIoU': 'mIoU', 'accuracy/top1': 'top-1'}


def table(results: Sequence[Result]) -> str:
    """Return Markdown of one case, and where it was measured.

    Args:
        results: Of one whole model in inference.
    """
    case = results[0].case
    measured = [result for result in results if not result.refused]
    names = [name for name in NAMES if any(
        result.quality and name in result.quality.metrics for result in measured)]
    rows = [_row(result, names) for result in measured]
    rows += [[_form(result), 'refused', *[''] * (len(names) + 4)]
             for result in results if result.refused]
    size = 'x'.join(map(str, measured[0].shape[2:]))
    own = machine(case.device)
    lines = [f'`{Path(case.name).stem}`, {measured[0].shape[0]} x 3 x {size}, '
             f'{own["threads"]} threads of {own["device"]}, PyTorch {own["torch"]} in '
             f'{case.dtype}, {own["date"]}:', '', markdown(
                 ['form', 'file, MiB', 'median, ms', 'pictures/s', 'speed',
                  *(NAMES[name] for name in names), 'largest difference'], rows)]
    refused: dict[str, list[str]] = {}  # by the reason, forms
    for result in results:
        if result.refused:
            refused.setdefault(result.refused, []).append(_form(result))
    reasons = [f'- {", ".join(forms)}: {reason}' for reason, forms in refused.items()]
    return '\n'.join([*lines, *[''] * bool(reasons), *reasons])


def insert(text: str, name: str, path: str) -> None:
    """Put a table into a document, between its two lines for it.

    Args:
        text: The table.
        name: Of the model.
        path: Markdown that has ``<!-- files of NAME -->`` and, after it,
            ``<!-- end -->``, a line each. What is between them goes.

    Raises:
        ArgumentError: It has not.
    """
    before, after = places(name, path)
    with whole_file(path) as unfinished:
        unfinished.write_text(f'{before}\n{text}\n\n{after}', encoding='utf-8')


def places(name: str, path: str) -> tuple[str, str]:
    """Return what a document has before and after the table of a model.

    Raises:
        ArgumentError: It has no place for one.
    """
    try:
        content = Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f'{path} cannot be read: {error}.') from error
    first, last = f'<!-- files of {name} -->', '<!-- end -->'
    place = re.search(f'^{re.escape(first)}$.*?^{last}$', content, re.M | re.S)
    if place is None or '<!-- files of' in place[0][len(first):]:
        raise ArgumentError(f'{path} has no place for the table: write the lines '
                            f'{first} and {last} where it is to stand.')
    return f'{content[:place.start()]}{first}', f'{last}{content[place.end():]}'


def _form(result: Result) -> str:
    _, form, memory_format = result.contestant.split()
    if form in EXPORTED:
        size = result.quality and result.quality.size
        return f'{form}, {size[0]}x{size[1]}' if size else form
    return f'PyTorch, {form}, {memory_format}'


def _row(result: Result, names: Sequence[str]) -> list[str]:
    quality = result.quality
    if quality is None:
        size, points, differences = '', [''] * len(names), ''
    else:
        size = f'{quality.file_bytes / MIB:.1f}'
        points = [f'{quality.metrics[name]:.1f}' if name in quality.metrics else ''
                  for name in names]
        differences = ', '.join(
            f'{name} {"others" if value is None else f"{value:.0e}"}'
            for name, value in quality.differences.items())
    return [_form(result), size, f'{result.median * 1e3:.1f}',
            f'{result.pictures_per_second:.1f}', f'{result.ratio:.2f}x', *points,
            differences]
