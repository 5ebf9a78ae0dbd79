"""What a model finds in one picture."""
from __future__ import annotations

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
    ``labels`` (H, W); a classification ``scores`` (classes,); a backbone its maps.

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

        The others are neither drawn nor written: JSON has no such numbers.
        """
        kept = np.isfinite(self['scores'])
        return kept & np.isfinite(self['boxes']).all(1) if 'boxes' in self else kept

    def to_supervision(self) -> supervision.Detections | supervision.Classifications:
        """Return the same for supervision's annotators and trackers.

        A segmentation becomes one detection for each class that is in the picture.

        Raises:
            PredictionError: supervision is missing, or these are feature maps.
        """
        try:
            import supervision
        except ImportError as error:
            raise PredictionError('to_supervision() needs supervision: pip install '
                                  'supervision.') from error
        task = self.metadata['task']
        if task == 'classification':
            return supervision.Classifications(
                class_id=np.arange(len(self['scores'])), confidence=self['scores'])
        if task == 'detection':
            return supervision.Detections(
                self['boxes'].astype(np.float32), self.get('masks'), self['scores'],
                self['labels'].astype(int),
                data=dict(class_name=self._names(self['labels'])))
        if task == 'segmentation':
            labels = np.unique(self['labels'])
            masks = self['labels'] == labels[:, None, None]
            return supervision.Detections(
                supervision.mask_to_xyxy(masks).astype(np.float32), masks,
                class_id=labels.astype(int),
                data=dict(class_name=self._names(labels)))
        raise PredictionError('Feature maps are no detections: export the whole model.')

    def _names(self, labels: np.ndarray) -> np.ndarray:
        return np.array([self.name(label) for label in labels], str)
