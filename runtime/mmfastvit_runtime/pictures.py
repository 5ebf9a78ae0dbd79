"""Pictures: read, resized as the toolboxes do, and written."""
from pathlib import Path

import cv2
import numpy as np

from .errors import PredictionError, first_line
from .files import whole_file


def read_picture(path: str) -> np.ndarray:
    """Return a picture (H, W, 3) uint8, BGR, as the toolboxes load it.

    Grey, palette, CMYK and 16-bit pictures become 8-bit colour, transparency is
    dropped, and EXIF rotation is applied.

    Raises:
        PredictionError: It cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise PredictionError(f'There is no picture {path}.')
        content = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (OSError, cv2.error) as error:
        raise PredictionError(f'{path} cannot be read as a picture: '
                              f'{first_line(error)}') from error
    if picture is None:
        raise PredictionError(f'{path} ({content.size:,} bytes) is no picture that '
                              'OpenCV reads, or it is damaged.')
    return picture


def write_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Raises:
        PredictionError: It cannot be written there.
    """
    path = Path(path)
    with whole_file(path) as unfinished:
        try:
            written, content = cv2.imencode(path.suffix, picture)
        except cv2.error as error:
            raise PredictionError(f'{path} cannot be written: {first_line(error)} '
                                  'Name a picture, .png or .jpg.') from error
        if not written:
            raise PredictionError(f'{path}: its format has no pictures of '
                                  f'{picture.shape[1]} x {picture.shape[0]}; name a '
                                  '.png.')
        unfinished.write_bytes(content.tobytes())


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
