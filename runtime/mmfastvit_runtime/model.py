"""Exported files at work: a picture in, boxes, masks, labels, scores or a hand out."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from . import detection, hands
from .engines import Engine, open_file
from .errors import PredictionError, first_line
from .limits import MAX_LABEL, MAX_PIXELS, check_batch, check_pixels
from .prediction import Arrays, Prediction
from .resizing import PADS, STEPS
from .segmentation import label
from .windows import run as run_windows

Size = tuple[int, int]  # height and width


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
        check_batch(pictures, self.metadata)
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

    def __call__(self, pictures: np.ndarray | Sequence[np.ndarray],
                 batch_size: int = 8) -> Prediction | list[Prediction]:
        """Predict for one picture, or for several.

        Pictures that are of one size once they are resized run together.

        Args:
            pictures: (H, W, 3) uint8, BGR, of any size; or a list of such.
            batch_size: How many run together at most.

        Returns:
            What was found, in pixels of the picture; or a list, in the same order.

        Raises:
            PredictionError: One would become too large, or the model fails.
        """
        if isinstance(pictures, np.ndarray) and pictures.ndim == 3:
            return self([pictures])[0]
        return self.predict_resized([self.resize(picture) for picture in pictures],
                                    batch_size)

    def resize(self, picture: np.ndarray) -> 'Resized':
        """Return a picture (H, W, 3), BGR, as :meth:`predict_resized` takes it."""
        return Resized(*self._resize(picture), picture.shape[:2])

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """Return what :meth:`run` takes, (1, 3, H, W), of a picture (H, W, 3)."""
        return self._batch([self._resize(picture)[0]])

    def predict_resized(self, pictures: Sequence['Resized'], batch_size: int = 8
                        ) -> list[Prediction]:
        """Predict for pictures that a test pipeline has resized.

        Args:
            pictures: Of any sizes.
            batch_size: How many of one size run together at most.
        """
        batch_size = self.metadata.get('batch') or batch_size
        by_size: dict[tuple, list[int]] = {}
        for i, one in enumerate(pictures):
            by_size.setdefault(one.picture.shape, []).append(i)
        predictions = {}
        for indices in by_size.values():
            for start in range(0, len(indices), batch_size):
                some = indices[start:start + batch_size]
                batch = self._batch([pictures[i].picture for i in some])
                found = self.split(self.run(batch), len(some))
                for i, arrays in zip(some, found):
                    own, size = pictures[i], batch.shape[2:]
                    content = [round(side * now / before) for side, now, before in
                               zip(own.content, size, own.picture.shape)]
                    predictions[i] = self.restore(arrays, size, own.original, content)
        return [predictions[i] for i in range(len(pictures))]

    def _resize(self, picture: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Return a picture as the model takes it, and its size before it is padded."""
        content = picture.shape[:2]
        for step in self.metadata['resize']:
            try:
                picture = STEPS[step['type']](
                    picture, max_pixels=self.max_pixels,
                    **{key: value for key, value in step.items() if key != 'type'})
            except (cv2.error, ValueError, OverflowError) as error:
                raise PredictionError(
                    f'A picture of {picture.shape[1]:,} x {picture.shape[0]:,} cannot '
                    f'be resized by {step}: {first_line(error)}') from error
            if step['type'] not in PADS:
                content = picture.shape[:2]
        return picture, content

    def _batch(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Return (B, 3, H, W) of pictures (H, W, 3) of one size."""
        static, size = self.metadata['size'], pictures[0].shape[:2]
        if static and size != tuple(static):
            check_pixels('This model takes pictures of', *static[::-1],
                         self.max_pixels)
            pictures = [cv2.resize(np.ascontiguousarray(picture), tuple(static[::-1]))
                        for picture in pictures]
        check_pixels('Given to the model, the picture has',
                     *pictures[0].shape[1::-1], self.max_pixels)
        return np.stack([picture.transpose(2, 0, 1) for picture in pictures])

    def split(self, found: Arrays, batch: int) -> list[Arrays]:
        """Return what was found in each of ``batch`` pictures, from :meth:`run`.

        Raises:
            PredictionError: It is not what the task has.
        """
        if self.metadata['task'] == 'detection':
            return detection.split(found, batch)
        return [{name: array[i:i + 1] for name, array in found.items()}
                for i in range(batch)]

    def restore(self, found: Arrays, size: tuple[int, int], original: tuple[int, int],
                content: tuple[int, int] | None = None) -> Prediction:
        """Return what was found in a resized picture, in pixels of the original.

        Args:
            found: From :meth:`split`, for one picture.
            size: Height and width that the model was given.
            original: Those of the picture.
            content: Those that it was resized to; None where it was not padded then.

        Raises:
            PredictionError: It is not what the task has, or its masks are too many.
        """
        task = self.metadata['task']
        _check(found, task, size)
        restored = _RESTORE.get(task, _as_it_is)(
            self, found, size, content or size, original)
        return Prediction(restored, self.metadata)


@dataclass(frozen=True)
class Resized:
    """A picture as a model takes it.

    Attributes:
        picture: (H, W, 3) uint8, BGR.
        content: Height and width that it was resized to, before it was padded.
        original: Those before.
    """

    picture: np.ndarray
    content: tuple[int, int]
    original: tuple[int, int]


def _as_it_is(model: ExportedModel, found: Arrays, *sizes: Size) -> Arrays:
    return {name: array[0] for name, array in found.items()}


def _labels(model: ExportedModel, found: Arrays, size: Size, content: Size,
            original: Size) -> Arrays:
    aligned = bool(model.metadata.get('align_corners'))
    return {'labels': label(found, size, original, aligned)}


def _objects(model: ExportedModel, found: Arrays, size: Size, content: Size,
             original: Size) -> Arrays:
    return detection.restore(found, model.metadata, content, original, model.max_pixels)


def _hand(model: ExportedModel, found: Arrays, size: Size, content: Size,
          original: Size) -> Arrays:
    return hands.restore(found, model.metadata, size, content, original)


# By task, where what is found depends on sizes: what returns it for the original, of
# the height and width that the model was given, those before the picture was padded,
# and those of the original.
_RESTORE: dict[str, Callable[..., Arrays]] = {
    'segmentation': _labels, 'detection': _objects, 'hand_mesh': _hand}
# By task, the shapes of one picture's arrays, of the size that the model was given;
# None is any side but 0.
_SHAPES: dict[str, Callable[[Size], dict[str, tuple]]] = {
    'segmentation': lambda size: dict(labels=(1, *size), logits=(1, None, None, None)),
    'classification': lambda size: dict(scores=(1, None)),
    'hand_mesh': lambda size: hands.SHAPES}


def _check(found: Arrays, task: str, size: Size) -> None:
    """Refuse arrays that are not what the task has.

    Raises:
        PredictionError: Those of the file are others.
    """
    wanted = _SHAPES[task](size) if task in _SHAPES else {}
    for name, shape in wanted.items():
        array = found[name]
        if (array.ndim != len(shape) or 0 in array.shape[1:]
                or any(side not in (None, of) for side, of in zip(shape, array.shape))
                or name == 'labels' and (array.dtype.kind not in 'iu' or not
                                         0 <= array.min() <= array.max() <= MAX_LABEL)):
            raise PredictionError(
                f'The file is damaged: of a {task}, its {name} have the shape '
                f'{array.shape} of {array.dtype}; allowed is {shape}, None for any '
                f'number, and labels from 0 to {MAX_LABEL:,}. Export the model again.')


def load(path: str, max_pixels: int | None = MAX_PIXELS, **options) -> ExportedModel:
    """Open a file that ``tools/export.py`` wrote.

    Args:
        path: The file, ``.onnx``, ``.xml``, ``.ncnn.param``, ``.pte`` or
            ``.tflite``.
        max_pixels: Of :class:`ExportedModel`.
        options: ``threads``; and for ONNX Runtime ``device`` (cpu, cuda, tensorrt,
            coreml, directml), or ``providers`` by their own names.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours.
    """
    return ExportedModel(open_file(path, **options), max_pixels)
