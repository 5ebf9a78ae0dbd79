"""What a single-stage detector's heads say, decoded and chosen from by numpy.

The same as the graph of an ``.onnx`` file computes, for formats that have no operators
for it. ``tools/export.py`` compares both before it keeps a file.
"""
from collections.abc import Callable, Sequence
from math import isfinite, log
from numbers import Real
from typing import Any

import cv2
import numpy as np

from .errors import PredictionError
from .limits import MAX_OBJECTS, MAX_SIDE
from .prediction import Arrays

Size = tuple[int, int]  # height and width
Heads = dict[str, Any]  # of the metadata


def select(maps: Sequence[np.ndarray], heads: Heads, size: Size) -> Arrays:
    """Return the objects of each picture.

    Args:
        maps: (B, C, h, w): scores of each level, boxes of each level, and where
            ``heads`` have a ``factor``, that of each level.
        heads: How they are read; see :func:`are_heads`.
        size: Height and width of the pictures.

    Returns:
        ``count`` (B,), ``boxes`` (B, rows, 4) in pixels, ``scores`` (B, rows) and
        ``labels`` (B, rows).
    """
    levels = len(heads['strides'])
    by_level = list(zip(*(maps[i:i + levels] for i in range(0, len(maps), levels))))
    found = [_objects([[one[i] for one in level] for level in by_level], heads, size)
             for i in range(len(maps[0]))]
    rows = max(len(scores) for _, scores, _ in found)
    return {'count': np.array([len(scores) for _, scores, _ in found]),
            'boxes': _padded([boxes for boxes, _, _ in found], rows),
            'scores': _padded([scores for _, scores, _ in found], rows),
            'labels': _padded([labels for _, _, labels in found], rows, -1)}


def _padded(arrays: list[np.ndarray], rows: int, fill: int = 0) -> np.ndarray:
    """Return (B, rows, ...) of arrays (N, ...)."""
    whole = np.full((len(arrays), rows, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(whole, arrays):
        row[:len(array)] = array
    return whole


def _objects(by_level: list[list[np.ndarray]], heads: Heads, size: Size
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (N, 4), scores (N,) and labels (N,) of one picture."""
    found = [_candidates(i, maps, heads) for i, maps in enumerate(by_level)]
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found))
    if heads['clip']:
        boxes = boxes.clip(0, np.tile(np.array(size[::-1], np.float32), 2))
    large = (boxes[:, 2:] - boxes[:, :2] > heads['least_side']).all(1)
    if heads['least_side'] >= 0 and not large.all():
        boxes, scores, labels = boxes[large], scores[large], labels[large]
    kept = _suppress(boxes, scores, labels, heads)
    return boxes[kept], scores[kept], labels[kept]


def _candidates(level: int, maps: list[np.ndarray], heads: Heads
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (N, 4), scores (N,) and labels (N,) of a level above threshold."""
    count = len(heads['priors'][level])
    if any(x.shape[0] % count or x.shape[1:] != maps[0].shape[1:] for x in maps):
        raise PredictionError(
            f'The file is damaged: of level {level}, its maps have the shapes '
            f'{[x.shape for x in maps]} for {count} priors. Export the model again.')
    priors = _priors(level, maps[0].shape[1:], heads)
    said = _rows(maps[0], len(priors))
    scores = ACTIVATIONS[heads['activation']](said)
    factor = _sigmoid(_rows(maps[2], len(priors))) if heads['factor'] else None
    if heads['factor'] == 'before':
        scores = scores * factor
    threshold = heads['score_threshold']
    reaches = scores >= threshold if heads['at_threshold'] else scores > threshold
    if heads['best_class']:
        reaches &= np.arange(scores.shape[1]) == scores.argmax(1)[:, None]
    places, labels = np.nonzero(reaches)
    scores = scores[places, labels]
    if 0 < heads['nms_pre'] < len(scores):
        best = np.argsort(-scores, kind='stable')[:heads['nms_pre']]
        scores, places, labels = scores[best], places[best], labels[best]
    if heads['factor'] == 'after':
        scores = scores * factor[places, 0]
    boxes = DECODERS[heads['numbers']](
        _rows(maps[1], len(priors))[places], priors[places], heads,
        heads['strides'][level][0])
    return boxes.astype(np.float32), scores, labels.astype(np.int64)


def _priors(level: int, shape: Size, heads: Heads) -> np.ndarray:
    """Return boxes (N, 4) where a head looks, those of one place side by side."""
    width, height = heads['strides'][level]
    y, x = (np.arange(count, dtype=np.float32) for count in shape)
    shifts = np.stack(np.broadcast_arrays(x * width, y[:, None] * height), -1)
    own = np.array(heads['priors'][level], np.float32)
    return (np.tile(shifts, 2)[:, :, None] + own).reshape(-1, 4)


def _rows(x: np.ndarray, count: int) -> np.ndarray:
    """Return a map (A * C, h, w) as rows (count, C), one place's side by side."""
    return x.transpose(1, 2, 0).reshape(count, -1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.clip(-80)))  # beyond it, exp overflows


def _softmax(x: np.ndarray) -> np.ndarray:
    """Of the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _from_deltas(numbers: np.ndarray, priors: np.ndarray, heads: Heads, stride: int
                 ) -> np.ndarray:
    """Moved by parts of the prior's sides, and stretched by exponents."""
    deltas = numbers * np.float32(heads['stds']) + np.float32(heads['means'])
    limit = abs(log(16 / 1000))  # MMDetection's
    sides = priors[:, 2:] - priors[:, :2]
    centres = (priors[:, :2] + priors[:, 2:]) / 2 + sides * deltas[:, :2]
    halves = sides * np.exp(deltas[:, 2:].clip(-limit, limit)) / 2
    return np.concatenate([centres - halves, centres + halves], 1)


def _from_distances(numbers: np.ndarray, priors: np.ndarray, heads: Heads,
                    stride: int) -> np.ndarray:
    """Distances of the borders from the prior's centre, in pixels."""
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    return np.concatenate([centres - numbers[:, :2], centres + numbers[:, 2:]], 1)


def _from_bins(numbers: np.ndarray, priors: np.ndarray, heads: Heads, stride: int
               ) -> np.ndarray:
    """Each distance is the mean of a distribution, in strides (GFL, equation 4)."""
    shares = _softmax(numbers.reshape(len(numbers), 4, -1))
    distances = shares @ np.float32(heads['bins'])
    return _from_distances(distances * stride, priors, heads, stride)


def _from_centres(numbers: np.ndarray, priors: np.ndarray, heads: Heads, stride: int
                  ) -> np.ndarray:
    """Centres and exponents of sides, in strides (YOLOX)."""
    centres = numbers[:, :2] * stride + priors[:, :2]
    halves = np.exp(numbers[:, 2:]) * stride / 2
    return np.concatenate([centres - halves, centres + halves], 1)


def _suppress(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, heads: Heads
              ) -> np.ndarray:
    """Return which of boxes (N, 4) non-maximum suppression leaves, the best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    if len(boxes) > MAX_OBJECTS:
        raise PredictionError(
            f'The picture has {len(boxes):,} candidates above the threshold; allowed '
            f'are {MAX_OBJECTS:,}. Export the model with test_cfg.nms_pre, or with a '
            'higher test_cfg.score_thr.')
    # Moved so far, a class to the right, boxes of two classes do not overlap.
    moved = boxes.astype(np.float64)
    if not heads['class_agnostic']:
        moved[:, ::2] += labels[:, None] * (boxes.max() - boxes.min() + 1.)
    sides = moved[:, 2:] - moved[:, :2]
    kept = cv2.dnn.NMSBoxes(np.concatenate([moved[:, :2], sides], 1), scores, 0.,
                            heads['iou_threshold'])
    return np.asarray(kept, np.int64).reshape(-1)[
        :heads['max_detections'] or MAX_OBJECTS]


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'sigmoid': _sigmoid, 'softmax': lambda x: _softmax(x)[:, :-1]}
DECODERS: dict[str, Callable[..., np.ndarray]] = {
    'deltas': _from_deltas, 'distances': _from_distances, 'bins': _from_bins,
    'centres': _from_centres}
FACTORS = ('', 'before', 'after')  # the threshold


def are_heads(value: Any, outputs: int) -> bool:
    """Whether metadata say how maps are read, within bounds.

    Args:
        value: Of a file from anywhere.
        outputs: How many maps the network gives.
    """
    if not isinstance(value, dict) or set(value) != set(_FIELDS) or not all(
            is_right(value[name]) for name, is_right in _FIELDS.items()):
        return False
    levels = len(value['strides'])
    return (len(value['priors']) == levels and bool(value['bins']) == (
        value['numbers'] == 'bins')
            and outputs == levels * (3 if value['factor'] else 2))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_OBJECTS


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and isfinite(value) and abs(value) < 2**20


def _are(is_right: Callable[[Any], bool], least: int, most: int
         ) -> Callable[[Any], bool]:
    """Return what tells whether a value is a list of so many of a kind."""
    return lambda value: (isinstance(value, list) and least <= len(value) <= most
                          and all(map(is_right, value)))


_FIELDS: dict[str, Callable[[Any], bool]] = {
    'strides': _are(_are(lambda side: type(side) is int and 0 < side <= MAX_SIDE,
                         2, 2), 1, 16),
    'priors': _are(_are(_are(_is_number, 4, 4), 1, 256), 1, 16),
    'activation': lambda value: value in list(ACTIVATIONS),
    'numbers': lambda value: value in list(DECODERS),
    'means': _are(_is_number, 4, 4), 'stds': _are(_is_number, 4, 4),
    'bins': _are(_is_number, 0, 256),
    'factor': lambda value: value in FACTORS,
    **dict.fromkeys(('clip', 'best_class', 'at_threshold', 'class_agnostic'),
                    lambda value: isinstance(value, bool)),
    **dict.fromkeys(('score_threshold', 'iou_threshold', 'least_side'), _is_number),
    'nms_pre': _is_count,
    'max_detections': lambda value: value is None or _is_count(value)}
