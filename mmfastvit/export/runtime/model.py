"""Exported files at work: a picture in, boxes, masks, labels or scores out."""
import cv2
import numpy as np

from .engines import Arrays, Engine, open_file
from .pictures import STEPS


class ExportedModel:
    """A whole model, its pictures' preparation and what its outputs mean.

    Args:
        engine: Runs the file; :func:`load` opens one.

    Attributes:
        metadata: ``task``, ``classes``, ``palette``, ``resize``, ``mask_threshold``
            and what else was exported.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self.metadata = engine.metadata

    def __deepcopy__(self, memo: dict) -> 'ExportedModel':
        return self  # engines cannot be copied, and nothing in one changes

    def run(self, pictures: np.ndarray) -> Arrays:
        """Map pictures (B, 3, H, W) uint8, BGR, already resized, to the outputs."""
        return self.engine.run(pictures)

    def __call__(self, picture: np.ndarray) -> Arrays:
        """Predict for one picture.

        Args:
            picture: (H, W, 3) uint8, BGR, of any size.

        Returns:
            By task, in pixels of ``picture``: ``boxes`` (N, 4), ``scores`` (N,),
            ``labels`` (N,) and, of models with masks, ``masks`` (N, H, W) bool;
            ``labels`` (H, W); ``scores`` (classes,); or the feature maps.
        """
        return self.predict_resized(self._resize(picture), picture.shape[:2])

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """Return what :meth:`run` takes, (1, 3, H, W), of a picture (H, W, 3)."""
        return self._batch(self._resize(picture))

    def predict_resized(self, picture: np.ndarray, original: tuple[int, int]
                        ) -> Arrays:
        """Predict for a picture that a test pipeline has resized.

        Args:
            picture: (H, W, 3) uint8, BGR.
            original: Height and width before, in whose pixels results come.
        """
        batch = self._batch(picture)
        return self.restore(self.run(batch), batch.shape[2:], original)

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        for step in self.metadata['resize']:
            picture = STEPS[step['type']](picture, **{
                key: value for key, value in step.items() if key != 'type'})
        return picture

    def _batch(self, picture: np.ndarray) -> np.ndarray:
        static = self.metadata['size']
        if static and picture.shape[:2] != tuple(static):
            picture = cv2.resize(np.ascontiguousarray(picture), tuple(static[::-1]))
        return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])

    def restore(self, found: Arrays, size: tuple[int, int],
                original: tuple[int, int]) -> Arrays:
        """Return what was found in a resized picture, in pixels of the original.

        Args:
            found: From :meth:`run`, for one picture.
            size: Height and width that the picture was resized to.
            original: Those before.
        """
        task = self.metadata['task']
        if task == 'segmentation':
            if size == original:
                return {'labels': found['labels'][0]}
            logits = [cv2.resize(of_class, original[::-1])
                      for of_class in found['logits'][0]]
            return {'labels': np.argmax(logits, 0)}
        if task != 'detection':
            return {name: array[0] for name, array in found.items()}
        found = dict(found)
        scale = np.array([size[1] / original[1], size[0] / original[0]], np.float32)
        found['boxes'] = found['boxes'] / np.tile(scale, 2)
        if 'masks' in found:
            found['masks'] = np.array(
                [paste(mask, box, original) >= self.metadata['mask_threshold']
                 for mask, box in zip(found['masks'], found['boxes'])],
                dtype=bool).reshape(-1, *original)
        return found


def load(path: str, **options) -> ExportedModel:
    """Open a file that ``tools/export.py`` wrote.

    Args:
        path: The file, ``.onnx`` or ``.xml``.
        options: ``threads``, and for ONNX Runtime ``providers``.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours.
    """
    return ExportedModel(open_file(path, **options))


def paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (h, w) that fills a box, on a canvas (H, W), 0 elsewhere.

    Interpolated linearly between the mask's pixel centres, as the toolbox does.
    """
    rows, columns = (
        _interpolation(low, high, count, pixels) for low, high, count, pixels in zip(
            (box[1], box[0]), (box[3], box[2]), mask.shape, size))
    return rows @ mask.astype(np.float32) @ columns.T


def _interpolation(low: float, high: float, count: int, pixels: int) -> np.ndarray:
    """Return weights (pixels, count) of ``count`` samples between low and high."""
    with np.errstate(divide='ignore', invalid='ignore'):
        place = (np.arange(pixels, dtype=np.float32) + 0.5 - low) / (high - low)
    place[np.isinf(place)] = 0.5  # boxes without extent, as the toolbox has it
    place = np.nan_to_num(place, nan=-1) * count - 0.5
    samples = np.arange(count, dtype=np.float32)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - samples))
    # The toolbox looks no farther than a pixel around the box.
    weights[:max(int(np.floor(low)) - 1, 0)] = 0
    weights[max(int(np.ceil(high)) + 1, 0):] = 0
    return weights
