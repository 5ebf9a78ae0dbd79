"""Exported files at work: a picture in, boxes, masks, labels or scores out."""
import cv2
import numpy as np

from .engines import Engine, open_file
from .errors import PredictionError, first_line
from .limits import MAX_LABEL, MAX_OBJECTS, MAX_PIXELS, check_masks, check_pixels
from .masks import paste
from .prediction import Arrays, Prediction
from .resizing import STEPS
from .segmentation import label
from .windows import run as run_windows


class ExportedModel:
    """A whole model, its pictures' preparation and what its outputs mean.

    Args:
        engine: Runs the file; :func:`load` opens one.
        max_pixels: How many a picture may have that was resized for it, and 64 times
            as many bytes the masks found in it; None allows all.

    Attributes:
        metadata: ``task``, ``classes``, ``palette``, ``resize``, ``mask_threshold``
            and what else was exported.
    """

    def __init__(self, engine: Engine, max_pixels: int | None = MAX_PIXELS):
        self.engine = engine
        self.max_pixels = max_pixels
        self.metadata = engine.metadata

    def __deepcopy__(self, memo: dict) -> 'ExportedModel':
        return self  # engines cannot be copied, and nothing in one changes

    def run(self, pictures: np.ndarray) -> Arrays:
        """Map pictures (B, 3, H, W) uint8, BGR, already resized, to the outputs.

        Where metadata have ``slide``, the file sees windows of them.

        Raises:
            PredictionError: The library cannot, for example since they are of another
                size than the file was made for.
        """
        try:
            if self.metadata.get('slide'):
                return run_windows(self.engine.run, pictures, self.metadata,
                                   self.max_pixels)
            return self.engine.run(pictures)
        except PredictionError:
            raise
        except Exception as error:  # the libraries have classes of their own
            raise PredictionError(
                f'The model cannot compute with pictures of {pictures.shape}: '
                f'{first_line(error)} Its metadata: size={self.metadata["size"]}, '
                f'batch={self.metadata.get("batch")}.') from error

    def __call__(self, picture: np.ndarray) -> Prediction:
        """Predict for one picture.

        Args:
            picture: (H, W, 3) uint8, BGR, of any size.

        Returns:
            What was found, in pixels of ``picture``.

        Raises:
            PredictionError: It would become too large, or the model fails.
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
            try:
                picture = STEPS[step['type']](
                    picture, max_pixels=self.max_pixels,
                    **{key: value for key, value in step.items() if key != 'type'})
            except (cv2.error, ValueError, OverflowError) as error:
                raise PredictionError(
                    f'A picture of {picture.shape[1]:,} x {picture.shape[0]:,} cannot '
                    f'be resized by {step}: {first_line(error)}') from error
        return picture

    def _batch(self, picture: np.ndarray) -> np.ndarray:
        static = self.metadata['size']
        if static and picture.shape[:2] != tuple(static):
            check_pixels('This model takes pictures of', *static[::-1],
                         self.max_pixels)
            picture = cv2.resize(np.ascontiguousarray(picture), tuple(static[::-1]))
        check_pixels('Given to the model, the picture has', *picture.shape[1::-1],
                     self.max_pixels)
        return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])

    def restore(self, found: Arrays, size: tuple[int, int],
                original: tuple[int, int]) -> Prediction:
        """Return what was found in a resized picture, in pixels of the original.

        Args:
            found: From :meth:`run`, for one picture.
            size: Height and width that the picture was resized to.
            original: Those before.

        Raises:
            PredictionError: It is not what the task has, or its masks are too many.
        """
        task = self.metadata['task']
        _check(found, task, size)
        if task == 'segmentation':
            labels = label(found, size, original,
                           bool(self.metadata.get('align_corners')))
            return Prediction({'labels': labels}, self.metadata)
        if task != 'detection':
            return Prediction({name: array[0] for name, array in found.items()},
                              self.metadata)
        found = Prediction(found, self.metadata)
        scale = np.array([size[1] / original[1], size[0] / original[0]], np.float32)
        found['boxes'] = found['boxes'] / np.tile(scale, 2)
        if 'masks' in found:
            check_masks(len(found['boxes']), *original[::-1], self.max_pixels)
            masks = np.zeros((len(found['boxes']), *original), bool)
            for out, mask, box in zip(masks, found['masks'], found['boxes']):
                if self.metadata.get('pasted'):
                    out[:] = cv2.resize(mask * 255, original[::-1]) > 127
                else:
                    values, place = paste(mask, box, original)
                    out[place] = values >= self.metadata['mask_threshold']
            found['masks'] = masks
        return found


def _check(found: Arrays, task: str, size: tuple[int, int]) -> None:
    """Refuse arrays that are not what the task has.

    Raises:
        PredictionError: Those of the file are others.
    """
    count = found['scores'].size if task == 'detection' else 1
    wanted = {'detection': dict(boxes=(count, 4), scores=(count, ), labels=(count, )),
              'segmentation': dict(labels=(1, *size),
                                   logits=(1, None, None, None)),
              'classification': dict(scores=(1, None))}.get(task, {})
    if 'masks' in found and task == 'detection':
        wanted['masks'] = (count, None, None)
    for name, shape in wanted.items():
        array = found[name]
        if (array.ndim != len(shape) or count > MAX_OBJECTS or 0 in array.shape[1:]
                or any(side not in (None, of) for side, of in zip(shape, array.shape))
                or name == 'labels' and (array.dtype.kind not in 'iu' or array.size
                                         and not 0 <= array.min() <= array.max()
                                         <= MAX_LABEL)):
            raise PredictionError(
                f'The file is damaged: of a {task}, its {name} have the shape '
                f'{array.shape} of {array.dtype}; allowed are at most '
                f'{MAX_OBJECTS:,} objects, and labels from 0 to {MAX_LABEL:,}. Export '
                'the model again.')


def load(path: str, max_pixels: int | None = MAX_PIXELS, **options) -> ExportedModel:
    """Open a file that ``tools/export.py`` wrote.

    Args:
        path: The file, ``.onnx`` or ``.xml``.
        max_pixels: Of :class:`ExportedModel`.
        options: ``threads``, and for ONNX Runtime ``providers``.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours.
    """
    return ExportedModel(open_file(path, **options), max_pixels)
