"""What a model finds in one picture."""
from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PredictionError

if TYPE_CHECKING:
    import supervision

Arrays = dict[str, np.ndarray]


class Prediction(Arrays):
    """Arrays by name, in pixels of the picture.

    A detection has ``boxes`` (N, 4), left, top, right and bottom, ``scores`` (N,),
    ``labels`` (N,) and, with masks, ``masks`` (N, H, W) bool; a segmentation
    ``labels`` (H, W); a classification ``scores`` (classes,); a hand its joints, ``uv``
    (21, 2), x and y, the centre of the first pixel being (0, 0), and, in metres from
    the root of the middle finger, ``joints`` (21, 3) and ``vertices`` (V, 3); a
    backbone its maps.

    Attributes:
        metadata: Of the model: ``task``, ``classes`` and more.
    """

    def __init__(self, arrays: Arrays, metadata: dict[str, Any]):
        super().__init__(arrays)
        self.metadata = metadata

    def name(self, label: int) -> str:
        """Return a class's name; a model may know more classes than names."""
        classes = self.metadata['classes']
        return classes[label] if label < len(classes) else f'class {label}'

    def finite(self) -> np.ndarray:
        """Return which objects, or classes' scores, hold no NaN and no infinity.

        A hand is one, (1,); of label maps and feature maps there are none, (0,). The
        others are neither drawn nor written: JSON has no such numbers.
        """
        return _FINITE.get(self.metadata['task'], lambda found: np.zeros(0, bool))(self)

    def to_supervision(self) -> (supervision.Detections | supervision.Classifications
                                 | supervision.KeyPoints):
        """Return the same for supervision's annotators and trackers.

        A segmentation becomes one detection for each class that is in the picture, a
        hand the key points of one object.

        Raises:
            PredictionError: supervision is missing, or these are feature maps.
        """
        try:
            import supervision
        except ImportError as error:
            raise PredictionError('to_supervision() needs supervision: pip install '
                                  'supervision.') from error
        task = self.metadata['task']
        if task not in _SUPERVISION:
            raise PredictionError('Feature maps are no detections: export the whole '
                                  'model.')
        return _SUPERVISION[task](self, supervision)

    def _names(self, labels: np.ndarray) -> np.ndarray:
        return np.array([self.name(label) for label in labels], str)


def _finite_objects(found: Prediction) -> np.ndarray:
    return np.isfinite(found['scores']) & np.isfinite(found['boxes']).all(1)


def _finite_scores(found: Prediction) -> np.ndarray:
    return np.isfinite(found['scores'])


def _finite_hand(found: Prediction) -> np.ndarray:
    return np.array([all(np.isfinite(array).all() for array in found.values())])


def _objects(found: Prediction, supervision: ModuleType) -> supervision.Detections:
    return supervision.Detections(
        found['boxes'].astype(np.float32), found.get('masks'), found['scores'],
        found['labels'].astype(int),
        data=dict(class_name=found._names(found['labels'])))


def _areas(found: Prediction, supervision: ModuleType) -> supervision.Detections:
    labels = np.unique(found['labels'])
    masks = found['labels'] == labels[:, None, None]
    return supervision.Detections(
        supervision.mask_to_xyxy(masks).astype(np.float32), masks,
        class_id=labels.astype(int), data=dict(class_name=found._names(labels)))


def _scores(found: Prediction, supervision: ModuleType) -> supervision.Classifications:
    return supervision.Classifications(
        class_id=np.arange(len(found['scores'])), confidence=found['scores'])


def _hand(found: Prediction, supervision: ModuleType) -> supervision.KeyPoints:
    label = np.zeros(1, int)
    return supervision.KeyPoints(found['uv'][None].astype(np.float32), class_id=label,
                                 data=dict(class_name=found._names(label)))


_FINITE: dict[str, Callable[[Prediction], np.ndarray]] = {
    'detection': _finite_objects, 'classification': _finite_scores,
    'hand_mesh': _finite_hand}
_SUPERVISION: dict[str, Callable[[Prediction, ModuleType], Any]] = {
    'detection': _objects, 'segmentation': _areas, 'classification': _scores,
    'hand_mesh': _hand}
