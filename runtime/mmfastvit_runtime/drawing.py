"""What was found, as a picture and as text."""
import cv2
import numpy as np

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
    """
    picture, task = picture.copy(), found.metadata['task']
    if task == 'segmentation':
        colours = _colours(found, int(found['labels'].max()) + 1)
        for row, labels in zip(picture, found['labels']):
            row[:] = _half(row, colours[labels])
        return picture
    if task == 'classification':
        colours = _colours(found, len(found['scores']))
        for row, i in enumerate(_best(found)[:3]):
            write_text(picture, f'{found.name(i)[:MAX_NAME]}: {found["scores"][i]:.2f}',
                       (2, 14 * (row + 1)), colours[i])
        return picture
    if task != 'detection':
        raise PredictionError('Feature maps cannot be drawn on a picture.')
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
    return picture


def describe(found: Prediction, score_threshold: float = 0.3) -> list[str]:
    """Return what was found as lines of text."""
    task = found.metadata['task']

    def name(label: int) -> str:
        return printable(found.name(label))

    if task == 'detection':
        return [f'{name(found["labels"][i])} {found["scores"][i]:.3f} at '
                f'{", ".join(f"{x:.1f}" for x in found["boxes"][i])}'
                for i in _shown(found, score_threshold)]
    if task == 'segmentation':
        labels, counts = np.unique(found['labels'], return_counts=True)
        return [f'{name(label)}: {count / found["labels"].size:.1%}'
                for label, count in zip(labels, counts)]
    if task == 'classification':
        return [f'{name(i)}: {found["scores"][i]:.3f}' for i in _best(found)[:5]]
    return [f'{printable(output)}: {array.shape}' for output, array in found.items()]


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
