"""Exported files at work: a picture in, boxes, masks, labels or scores out."""
import cv2
import numpy as np

from .engines import Engine, open_file
from .pictures import STEPS
from .prediction import Arrays, Prediction


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

    def __call__(self, picture: np.ndarray) -> Prediction:
        """Predict for one picture.

        Args:
            picture: (H, W, 3) uint8, BGR, of any size.

        Returns:
            What was found, in pixels of ``picture``.
        """
        return self.predict_resized(self._resize(picture), picture.shape[:2])

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """Return what :meth:`run` takes, (1, 3, H, W), of a picture (H, W, 3)."""
        return self._batch(self._resize(picture))

    def predict_resized(self, picture: np.ndarray, original: tuple[int, int]
                        ) -> Prediction:
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
                original: tuple[int, int]) -> Prediction:
        """Return what was found in a resized picture, in pixels of the original.

        Args:
            found: From :meth:`run`, for one picture.
            size: Height and width that the picture was resized to.
            original: Those before.
        """
        task = self.metadata['task']
        if task == 'segmentation':
            return Prediction({'labels': _label(found, size, original)}, self.metadata)
        if task != 'detection':
            return Prediction({name: array[0] for name, array in found.items()},
                              self.metadata)
        found = Prediction(found, self.metadata)
        scale = np.array([size[1] / original[1], size[0] / original[0]], np.float32)
        found['boxes'] = found['boxes'] / np.tile(scale, 2)
        if 'masks' in found:
            masks = np.zeros((len(found['boxes']), *original), bool)
            for out, mask, box in zip(masks, found['masks'], found['boxes']):
                if self.metadata.get('pasted'):
                    out[:] = cv2.resize(mask * 255, original[::-1]) > 127
                else:
                    values, place = paste(mask, box, original)
                    out[place] = values >= self.metadata['mask_threshold']
            found['masks'] = masks
        return found


def _label(found: Arrays, size: tuple[int, int], original: tuple[int, int]
           ) -> np.ndarray:
    """Return the best class of each pixel (H, W), one class's logits at a time."""
    if size == original:
        return found['labels'][0]
    labels = np.zeros(original, found['labels'].dtype)
    highest = np.full(original, -np.inf, np.float32)
    for i, logits in enumerate(found['logits'][0]):
        logits = cv2.resize(logits, original[::-1])
        better = logits > highest
        labels[better], highest[better] = i, logits[better]
    return labels


def load(path: str, **options) -> ExportedModel:
    """Open a file that ``tools/export.py`` wrote.

    Args:
        path: The file, ``.onnx`` or ``.xml``.
        options: ``threads``, and for ONNX Runtime ``providers``.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours.
    """
    return ExportedModel(open_file(path, **options))


def paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]
          ) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Return what a mask (h, w) that fills a box is in a picture, and where.

    Interpolated linearly between the mask's pixel centres, and 0 farther out, no
    farther than a pixel around the box, as the toolbox does.

    Args:
        mask: (h, w), 0 to 1.
        box: Left, top, right and bottom, in pixels.
        size: Height and width of the picture.
    """
    if not np.isfinite(box).all():
        return np.zeros((0, 0), np.float32), (slice(0), slice(0))
    # Gathered, not as the product of two matrices that it also is: numpy's threads for
    # those go on to spin, and take the processor from the runtime's next picture.
    samples = np.pad(mask, 1)
    rows, low, high, part = _interpolation(box[1], box[3], mask.shape[0], size[0])
    part = part[:, None]
    samples = samples[low] * (1 - part) + samples[high] * part
    columns, low, high, part = _interpolation(box[0], box[2], mask.shape[1], size[1])
    return samples[:, low] * (1 - part) + samples[:, high] * part, (rows, columns)


def _interpolation(low: float, high: float, count: int, pixels: int
                   ) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels, the padded samples beside each, and the second one's part."""
    where = slice(min(max(int(np.floor(low)) - 1, 0), pixels),
                  min(max(int(np.ceil(high)) + 1, 0), pixels))
    place = np.arange(where.start, where.stop, dtype=np.float32) + 0.5 - low
    with np.errstate(divide='ignore', invalid='ignore'):
        place /= high - low
    place[np.isinf(place)] = 0.5  # boxes without extent, as the toolbox has it
    place = np.nan_to_num(place, nan=-1) * count - 0.5
    before = np.floor(place)
    indices = [np.clip(before + step, 0, count + 1).astype(int) for step in (1, 2)]
    return where, *indices, place - before
