"""Exported files at work: a picture in, boxes, masks, labels or scores out.

Needs numpy, OpenCV, ONNX Runtime and, for models whose pictures Pillow resizes, that;
nothing else of this package, so that this file can go where the model goes.
"""
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

KEY = 'mmfastvit'  # of the metadata in an exported file
Arrays = dict[str, np.ndarray]


class PredictionError(Exception):
    """A file or picture cannot be used: what was got, and what to do."""


class ExportedModel:
    """A file that ``tools/export.py`` wrote.

    Args:
        path: The file, ``.onnx``.
        threads: How many the runtime may use; None leaves it to the runtime.
        providers: ONNX Runtime's, the first that works; others than the CPU's may
            compute with fewer digits.

    Attributes:
        metadata: ``task``, ``classes``, ``palette``, ``resize``, ``mask_threshold``
            and what else was exported.

    Raises:
        PredictionError: The file is missing, damaged, or none of ours.

    Example:
        >>> model = ExportedModel('model.onnx')
        >>> found = model(read_picture('photo.jpg'))
        >>> found['boxes'].shape, found['scores'].shape
        ((7, 4), (7,))
    """

    def __init__(self, path: str, threads: int | None = None,
                 providers: Sequence[str] = ('CPUExecutionProvider', )):
        path = Path(path)
        if not path.is_file() or path.suffix != '.onnx':
            raise PredictionError(f'There is no file {path} that ends in .onnx; '
                                  'tools/export.py writes one.')
        try:
            import onnxruntime
        except ImportError as error:
            raise PredictionError(f'{path} needs ONNX Runtime: pip install '
                                  'onnxruntime.') from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=list(providers))
        except Exception as error:  # the runtime has classes of its own
            raise PredictionError(
                f'{path} ({path.stat().st_size:,} bytes) is damaged, or was made for '
                f'another runtime: {first_line(error)}') from error
        metadata = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        if not metadata:
            raise PredictionError(
                f'{path} holds no metadata of mmfastvit: it was not written by '
                'tools/export.py, and nothing says how pictures are prepared for '
                'it.')
        self.metadata = json.loads(metadata)

    def __deepcopy__(self, memo: dict) -> 'ExportedModel':
        return self  # sessions cannot be copied, and nothing in one changes

    def run(self, pictures: np.ndarray) -> Arrays:
        """Map pictures (B, 3, H, W) uint8, BGR, already resized, to the outputs."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {'image': pictures})))

    def __call__(self, picture: np.ndarray) -> Arrays:
        """Predict for one picture.

        Args:
            picture: (H, W, 3) uint8, BGR, of any size.

        Returns:
            By task, in pixels of ``picture``: ``boxes`` (N, 4), ``scores`` (N,),
            ``labels`` (N,) and, of models with masks, ``masks`` (N, H, W) bool;
            ``labels`` (H, W); ``scores`` (classes,); or the feature maps.
        """
        resized = picture
        for step in self.metadata['resize']:
            resized = STEPS[step['type']](resized, **{
                key: value for key, value in step.items() if key != 'type'})
        return self.predict_resized(resized, picture.shape[:2])

    def predict_resized(self, picture: np.ndarray, original: tuple[int, int]
                        ) -> Arrays:
        """Predict for a picture that a test pipeline has resized.

        Args:
            picture: (H, W, 3) uint8, BGR.
            original: Height and width before, in whose pixels results come.
        """
        static = self.metadata['size']
        if static and picture.shape[:2] != tuple(static):
            picture = cv2.resize(np.ascontiguousarray(picture), tuple(static[::-1]))
        found = self.run(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        return self.restore(found, picture.shape[:2], original)

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


def read_picture(path: str) -> np.ndarray:
    """Return a picture (H, W, 3) uint8, BGR, as the toolboxes load it.

    Grey, palette, CMYK and 16-bit pictures become 8-bit colour, transparency is
    dropped, and EXIF rotation is applied.

    Raises:
        PredictionError: It cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise PredictionError(f'There is no picture {path}.')
    try:
        content = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (OSError, cv2.error) as error:
        raise PredictionError(f'{path} cannot be read as a picture: '
                              f'{first_line(error)}') from error
    if picture is None:
        raise PredictionError(f'{path} ({content.size:,} bytes) is no picture that '
                              'OpenCV reads, or it is damaged.')
    return picture


def first_line(error: Exception) -> str:
    """Return the beginning of an error's text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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


def draw(picture: np.ndarray, found: Arrays, metadata: dict,
         score_threshold: float = 0.3) -> np.ndarray:
    """Return a copy of a picture with what was found drawn on it.

    Args:
        picture: (H, W, 3) uint8, BGR.
        found: From :class:`ExportedModel`.
        metadata: Of the model.
        score_threshold: Least score of objects that are drawn.
    """
    picture = picture.copy()
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
        left, top, right, bottom = (int(x) for x in found['boxes'][i].round())
        if 'masks' in found:
            inside = found['masks'][i]
            picture[inside] = picture[inside] * 0.5 + colours[label] * 0.5
        cv2.rectangle(picture, (left, top), (right, bottom),
                      colours[label].tolist(), 1)
        _write(picture, f'{classes[label]} {found["scores"][i]:.2f}',
               (left, max(top - 3, 10)), colours[label])
    return picture


def describe(found: Arrays, metadata: dict, score_threshold: float = 0.3
             ) -> list[str]:
    """Return what was found as lines of text."""
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


def write_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Raises:
        PredictionError: It cannot be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written, content = cv2.imencode(path.suffix, picture)
        unfinished = path.with_name(f'.unfinished-{os.getpid()}-{path.name}')
        try:
            unfinished.write_bytes(content.tobytes())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, cv2.error) as error:
        raise PredictionError(f'{path} cannot be written: {error}. Name a picture, '
                              '.png or .jpg, in a folder you may write to.') from error


def _write(picture: np.ndarray, text: str, place: tuple[int, int],
           colour: np.ndarray) -> None:
    for thickness, shade in ((3, colour.tolist()), (1, (255, 255, 255))):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, shade,
                    thickness, cv2.LINE_AA)


# How pictures are resized: the steps of the toolboxes' test pipelines, by name.

def _resize(picture: np.ndarray, scale: list[int], keep_ratio: bool) -> np.ndarray:
    """To ``scale`` (width, height), or to what fits into it, either way round."""
    height, width = picture.shape[:2]
    if not keep_ratio:
        return _linear(picture, tuple(scale))
    factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    return _linear(picture, (int(width * factor + 0.5), int(height * factor + 0.5)))


def _resize_to_multiple(picture: np.ndarray, size_divisor: int) -> np.ndarray:
    height, width = (-(-side // size_divisor) * size_divisor
                     for side in picture.shape[:2])
    return _linear(picture, (width, height))


def _resize_edge(picture: np.ndarray, scale: int, edge: str, backend: str,
                 interpolation: str) -> np.ndarray:
    height, width = picture.shape[:2]
    by_width = {'short': width < height, 'long': width > height, 'width': True,
                'height': False}[edge]
    size = ((scale, int(scale * height / width)) if by_width
            else (int(scale * width / height), scale))
    size = tuple(max(1, side) for side in size)
    if backend == 'cv2':
        return cv2.resize(picture, size, interpolation=INTERPOLATIONS[interpolation])
    try:
        from PIL import Image
    except ImportError as error:
        raise PredictionError('This model takes pictures that Pillow resized: pip '
                              'install pillow.') from error
    return np.asarray(Image.fromarray(picture).resize(
        size, getattr(Image.Resampling, interpolation.upper())))


def _centre_crop(picture: np.ndarray, crop_size: list[int]) -> np.ndarray:
    height, width = picture.shape[:2]
    top = max(0, round((height - crop_size[1]) / 2))
    left = max(0, round((width - crop_size[0]) / 2))
    return picture[top:top + crop_size[1], left:left + crop_size[0]]


def _linear(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    size = tuple(max(1, side) for side in size)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


INTERPOLATIONS = {'nearest': cv2.INTER_NEAREST, 'bilinear': cv2.INTER_LINEAR,
                  'bicubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA,
                  'lanczos': cv2.INTER_LANCZOS4}
STEPS = {'Resize': _resize, 'ResizeToMultiple': _resize_to_multiple,
         'ResizeEdge': _resize_edge, 'CenterCrop': _centre_crop}
