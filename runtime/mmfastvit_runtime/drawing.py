"""What was found, as a picture and as text."""
from collections.abc import Callable

import cv2
import numpy as np

from . import hands
from .errors import PredictionError
from .prediction import Prediction
from .text import printable, write_text

MAX_NAME = 80  # letters of a class's name that are drawn


def draw(picture: np.ndarray, found: Prediction, score_threshold: float = 0.3
         ) -> np.ndarray:
    """Return a copy of a picture with what was found drawn on it.

    Args:
        picture: (H, W, 3) uint8, BGR.
        found: What a model found in it.
        score_threshold: Least score of objects that are drawn.

    Raises:
        PredictionError: These are feature maps.
    """
    task = found.metadata['task']
    if task not in _DRAW:
        raise PredictionError('Feature maps cannot be drawn on a picture.')
    picture = picture.copy()
    _DRAW[task](picture, found, score_threshold)
    return picture


def describe(found: Prediction, score_threshold: float = 0.3) -> list[str]:
    """Return what was found as lines of text."""
    return _DESCRIBE.get(found.metadata['task'], _arrays)(found, score_threshold)


def _draw_objects(picture: np.ndarray, found: Prediction, score_threshold: float
                  ) -> None:
    colours = _colours(found, int(found['labels'].max(initial=0)) + 1)
    height, width = picture.shape[:2]
    for i in _shown(found, score_threshold)[::-1]:
        label = found['labels'][i]
        # Edges beyond the picture stay beyond it; OpenCV cannot hold all numbers.
        left, top, right, bottom = (int(x) for x in found['boxes'][i].round().clip(
            -2, [width + 1, height + 1] * 2))
        if 'masks' in found:
            inside = found['masks'][i]
            picture[inside] = _half(picture[inside], colours[label])
        cv2.rectangle(picture, (left, top), (right, bottom),
                      colours[label].tolist(), 1)
        write_text(picture, f'{found.name(label)[:MAX_NAME]} {found["scores"][i]:.2f}',
                   (left, max(top - 3, 10)), colours[label])


def _draw_labels(picture: np.ndarray, found: Prediction, score_threshold: float
                 ) -> None:
    colours = _colours(found, int(found['labels'].max()) + 1)
    for row, labels in zip(picture, found['labels']):
        row[:] = _half(row, colours[labels])


def _draw_classes(picture: np.ndarray, found: Prediction, score_threshold: float
                  ) -> None:
    colours = _colours(found, len(found['scores']))
    for row, i in enumerate(_best(found)[:3]):
        write_text(picture, f'{found.name(i)[:MAX_NAME]}: {found["scores"][i]:.2f}',
                   (2, 14 * (row + 1)), colours[i])


def _objects(found: Prediction, score_threshold: float) -> list[str]:
    return [f'{_name(found, found["labels"][i])} {found["scores"][i]:.3f} at '
            f'{", ".join(f"{x:.1f}" for x in found["boxes"][i])}'
            for i in _shown(found, score_threshold)]


def _labels(found: Prediction, score_threshold: float) -> list[str]:
    labels, counts = np.unique(found['labels'], return_counts=True)
    return [f'{_name(found, label)}: {count / found["labels"].size:.1%}'
            for label, count in zip(labels, counts)]


def _classes(found: Prediction, score_threshold: float) -> list[str]:
    return [f'{_name(found, i)}: {found["scores"][i]:.3f}' for i in _best(found)[:5]]


def _arrays(found: Prediction, score_threshold: float) -> list[str]:
    return [f'{printable(output)}: {array.shape}' for output, array in found.items()]


# By task: what draws into a picture, and what returns lines, of a prediction and the
# least score.
_DRAW: dict[str, Callable[[np.ndarray, Prediction, float], None]] = {
    'detection': _draw_objects, 'segmentation': _draw_labels,
    'classification': _draw_classes, 'hand_mesh': hands.draw}
_DESCRIBE: dict[str, Callable[[Prediction, float], list[str]]] = {
    'detection': _objects, 'segmentation': _labels, 'classification': _classes,
    'hand_mesh': hands.describe}


def _name(found: Prediction, label: int) -> str:
    return printable(found.name(label))


def _shown(found: Prediction, score_threshold: float) -> np.ndarray:
    """Return which objects are drawn and printed."""
    return np.flatnonzero(found.finite() & (found['scores'] >= score_threshold))


def _best(found: Prediction) -> np.ndarray:
    """Return the classes, best first."""
    order = np.argsort(-found['scores'])
    return order[found.finite()[order]]


def _half(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the mean of both, rounded down, in uint8 all the way."""
    return (pixels & colours) + ((pixels ^ colours) >> 1)


def _colours(found: Prediction, count: int) -> np.ndarray:
    """Return a colour, BGR, for each label; grey where the file has none."""
    colours = np.full((count, 3), 128, np.uint8)
    palette = np.array(found.metadata['palette'], np.uint8).reshape(-1, 3)[:count, ::-1]
    colours[:len(palette)] = palette
    return colours
