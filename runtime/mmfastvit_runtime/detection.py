"""From the rows that a detector gives to the objects of each picture."""
import numpy as np

from .errors import PredictionError
from .limits import MAX_LABEL, MAX_OBJECTS, check_masks
from .masks import DRAW, box_of
from .prediction import Arrays

Size = tuple[int, int]  # height and width


def split(found: Arrays, batch: int) -> list[Arrays]:
    """Return the objects of each picture.

    Args:
        found: ``count`` (B,), ``boxes`` (B, rows, 4), ``scores`` and ``labels``
            (B, rows), and perhaps ``masks`` (B, rows, h, w). Files of before take
            one picture, have no ``count``, and rows alone.
        batch: How many pictures there were.

    Raises:
        PredictionError: They are other arrays.
    """
    if 'count' not in found:
        found = {name: array[None] for name, array in found.items()}
        found['count'] = np.array([found['boxes'].shape[1]])
    counts, rows = found['count'], found['boxes'].shape[1:2]
    whole = counts.shape == (batch, ) and counts.dtype.kind in 'iu' and len(rows) == 1
    if not whole or not 0 <= counts.min() <= counts.max() <= min(*rows, MAX_OBJECTS):
        raise _damaged('count', counts)
    sides = dict(boxes=(4, ), scores=(), labels=(), masks=(None, None),
                 class_scores=())
    for name, wanted in sides.items():
        array, shape = found.get(name), (batch, *rows, *wanted)
        if array is None:
            continue
        if (array.ndim != len(shape) or 0 in array.shape[2:]
                or any(side not in (None, of) for side, of in zip(shape, array.shape))):
            raise _damaged(name, array)
    objects = [{name: found[name][i, :count] for name in sides if name in found}
               for i, count in enumerate(counts.tolist())]
    for labels in (one['labels'] for one in objects):
        if labels.dtype.kind not in 'iu' or labels.size and not (
                0 <= labels.min() <= labels.max() <= MAX_LABEL):
            raise _damaged('labels', labels)
    return objects


def restore(found: Arrays, metadata: dict, content: Size, original: Size,
            max_pixels: int | None) -> Arrays:
    """Return the objects of a resized picture in pixels of the original.

    Args:
        found: From :func:`split`.
        metadata: Of the model.
        content: Height and width that the picture was resized to, before it was padded.
        original: Those before.
        max_pixels: Of :class:`mmfastvit_runtime.ExportedModel`.

    Raises:
        PredictionError: Its masks are too many.
    """
    scale = np.array([content[1] / original[1], content[0] / original[0]], np.float32)
    restored = {**found, 'boxes': found['boxes'] / np.tile(scale, 2),
                'scores': found['scores'].copy()}
    restored.pop('class_scores', None)
    if 'masks' not in found:
        return restored
    count = len(found['boxes'])
    check_masks(count, *original[::-1], max_pixels)
    masks = restored['masks'] = np.zeros((count, *original), bool)
    kind = metadata.get('masks') or ('pasted' if metadata.get('pasted') else 'boxes')
    for i in range(count):
        weight = DRAW[kind](masks[i], found['masks'][i], restored['boxes'][i], metadata,
                            content, original)
        if 'class_scores' in found:
            restored['scores'][i] = found['class_scores'][i] * weight
            restored['boxes'][i] = box_of(masks[i])
    return restored


def _damaged(name: str, array: np.ndarray) -> PredictionError:
    return PredictionError(
        f'The file is damaged: of a detection, its {name} have the shape '
        f'{array.shape} of {array.dtype}; allowed are at most {MAX_OBJECTS:,} objects, '
        f'and labels from 0 to {MAX_LABEL:,}. Export the model again.')
