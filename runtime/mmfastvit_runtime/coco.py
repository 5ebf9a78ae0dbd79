"""Predictions as COCO results, which evaluators and annotation tools read."""
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import PredictionError
from .files import whole_file
from .prediction import Prediction

Result = dict[str, Any]
VISIBLE = 2  # of a key point, in COCO's words


def to_results(found: Prediction, image_id: int, file_name: str) -> list[Result]:
    """Return one entry for each object, class in the picture, or class.

    ``category_id`` is the data set's own where the file knows it, else the label + 1.
    ``file_name`` and ``category`` stand in each entry, too. What is not finite is left
    out (:meth:`Prediction.finite`). A hand is one entry: ``keypoints`` are x, y and 2
    of each joint, as COCO has them, ``joints`` x, y and z in metres; its mesh is
    left to Python.

    Args:
        found: In one picture.
        image_id: Of the picture.
        file_name: Of the picture.

    Raises:
        PredictionError: Feature maps, or masks without pycocotools.
    """
    task, ids = found.metadata['task'], found.metadata.get('category_ids')
    if task not in _VALUES:
        raise PredictionError('Feature maps are no COCO results: leave out --json, or '
                              'export the whole model.')
    results = []
    for label, values in _VALUES[task](found):
        if ids and label >= len(ids):
            raise PredictionError(f'{file_name} shows {found.name(label)}, for which '
                                  "the model's file has no category id: leave out "
                                  '--json, or export the model again.')
        results.append(dict(image_id=image_id, file_name=file_name,
                            category_id=int(ids[label] if ids else label + 1),
                            category=found.name(label), **values))
    return results


Values = Iterator[tuple[int, Result]]  # label, and what its entry has of its own


def _objects(found: Prediction) -> Values:
    for i in np.flatnonzero(found.finite()):
        left, top, right, bottom = map(float, found['boxes'][i])
        values = dict(bbox=[left, top, right - left, bottom - top],
                      score=float(found['scores'][i]))
        if 'masks' in found:
            values['segmentation'] = _run_lengths(found['masks'][i])
        yield found['labels'][i], values


def _areas(found: Prediction) -> Values:
    for label in np.unique(found['labels']):
        yield label, dict(segmentation=_run_lengths(found['labels'] == label), score=1.)


def _classes(found: Prediction) -> Values:
    for i in np.flatnonzero(found.finite()):
        yield i, dict(score=float(found['scores'][i]))


def _hand(found: Prediction) -> Values:
    for label in np.flatnonzero(found.finite()):  # one at most
        points = [value for x, y in found['uv'].tolist() for value in (x, y, VISIBLE)]
        yield label, dict(keypoints=points, score=1., joints=found['joints'].tolist())


_VALUES: dict[str, Callable[[Prediction], Values]] = {
    'detection': _objects, 'segmentation': _areas, 'classification': _classes,
    'hand_mesh': _hand}


def write_results(results: Sequence[Result], path: str) -> None:
    """Write results as JSON, all of them or no file.

    Raises:
        PredictionError: It cannot be written there.
    """
    with whole_file(Path(path)) as unfinished:
        dump_results(results, unfinished)


def dump_results(results: Iterable[Result], path: Path) -> None:
    """Write results as JSON, one after the other, into a file not in its place yet."""
    with path.open('w', encoding='utf-8') as file:
        for i, result in enumerate(results):
            file.write(f'{", " if i else "["}{json.dumps(result, allow_nan=False)}')
        file.write(']' if file.tell() else '[]')


def _run_lengths(mask: np.ndarray) -> Result:
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise PredictionError('Masks as JSON need pycocotools: pip install '
                              'pycocotools.') from error
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(encoded['size']), counts=encoded['counts'].decode())
