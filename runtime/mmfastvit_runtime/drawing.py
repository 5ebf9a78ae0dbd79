"""What was found, as a picture and as text."""
import cv2
import numpy as np

from .errors import PredictionError
from .prediction import Prediction


def draw(picture: np.ndarray, found: Prediction, score_threshold: float = 0.3
         ) -> np.ndarray:
    """Return a copy of a picture with what was found drawn on it.

    Args:
        picture: (H, W, 3) uint8, BGR.
        found: What a model found in it.
        score_threshold: Least score of objects that are drawn.
    """
    picture, metadata = picture.copy(), found.metadata
    classes = metadata['classes']
    colours = np.array(metadata['palette'], np.uint8)[:, ::-1]  # BGR
    if metadata['task'] == 'segmentation':
        return (picture * 0.5 + colours[found['labels']] * 0.5).astype(np.uint8)
    if metadata['task'] == 'classification':
        for row, i in enumerate(np.argsort(-found['scores'])[:3]):
            _write(picture, f'{classes[i]}: {found["scores"][i]:.2f}',
                   (2, 14 * (row + 1)), colours[i])
        return picture
    if metadata['task'] != 'detection':
        raise PredictionError('Feature maps cannot be drawn on a picture.')
    for i in np.flatnonzero(found['scores'] >= score_threshold)[::-1]:
        label = found['labels'][i]
        if not np.isfinite(found['boxes'][i]).all():
            continue
        # Within what OpenCV's coordinates can hold.
        left, top, right, bottom = (
            int(x) for x in found['boxes'][i].round().clip(-2**15, 2**15))
        if 'masks' in found:
            inside = found['masks'][i]
            picture[inside] = picture[inside] * 0.5 + colours[label] * 0.5
        cv2.rectangle(picture, (left, top), (right, bottom),
                      colours[label].tolist(), 1)
        _write(picture, f'{classes[label]} {found["scores"][i]:.2f}',
               (left, max(top - 3, 10)), colours[label])
    return picture


def describe(found: Prediction, score_threshold: float = 0.3) -> list[str]:
    """Return what was found as lines of text."""
    metadata = found.metadata
    classes = metadata['classes']
    if metadata['task'] == 'detection':
        return [f'{classes[found["labels"][i]]} {found["scores"][i]:.3f} at '
                f'{", ".join(f"{x:.1f}" for x in found["boxes"][i])}'
                for i in np.flatnonzero(found['scores'] >= score_threshold)]
    if metadata['task'] == 'segmentation':
        labels, counts = np.unique(found['labels'], return_counts=True)
        return [f'{classes[label]}: {count / found["labels"].size:.1%}'
                for label, count in zip(labels, counts)]
    if metadata['task'] == 'classification':
        return [f'{classes[i]}: {found["scores"][i]:.3f}'
                for i in np.argsort(-found['scores'])[:5]]
    return [f'{name}: {array.shape}' for name, array in found.items()]


def _write(picture: np.ndarray, text: str, place: tuple[int, int],
           colour: np.ndarray) -> None:
    for thickness, shade in ((3, colour.tolist()), (1, (255, 255, 255))):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, shade,
                    thickness, cv2.LINE_AA)
