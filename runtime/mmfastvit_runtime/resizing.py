"""How pictures are resized: the steps of the toolboxes' test pipelines, by name.

Each takes the picture, what metadata says of the step, and how many pixels the result
may have: a line one pixel wide, made as wide as a picture, is a million long.
"""
import cv2
import numpy as np

from .limits import MAX_PIXELS, check_pixels


def _to_float32(picture: np.ndarray, *, max_pixels: int | None = MAX_PIXELS
                ) -> np.ndarray:
    """So that what is resized is not rounded."""
    return picture.astype(np.float32)


def _resize(picture: np.ndarray, scale: list[int], keep_ratio: bool, *,
            max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """To ``scale`` (width, height), or to what fits into it, either way round."""
    height, width = picture.shape[:2]
    if not keep_ratio:
        return _to(picture, tuple(scale), max_pixels)
    factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    return _to(picture, (int(width * factor + 0.5), int(height * factor + 0.5)),
               max_pixels)


def _resize_to_multiple(picture: np.ndarray, size_divisor: int, *,
                        max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    height, width = (-(-side // size_divisor) * size_divisor
                     for side in picture.shape[:2])
    return _to(picture, (width, height), max_pixels)


def _resize_edge(picture: np.ndarray, scale: int, edge: str, backend: str,
                 interpolation: str, *, max_pixels: int | None = MAX_PIXELS
                 ) -> np.ndarray:
    height, width = picture.shape[:2]
    by_width = {'short': width < height, 'long': width > height, 'width': True,
                'height': False}[edge]
    size = ((scale, int(scale * height / width)) if by_width
            else (int(scale * width / height), scale))
    return _to(picture, size, max_pixels, backend, interpolation)


def _centre_crop(picture: np.ndarray, crop_size: list[int], *,
                 max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    height, width = picture.shape[:2]
    top = max(0, round((height - crop_size[1]) / 2))
    left = max(0, round((width - crop_size[0]) / 2))
    return picture[top:top + crop_size[1], left:left + crop_size[0]]


def _pad(picture: np.ndarray, size: list[int], value: list[int], *,
         max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """To ``size`` (width, height) at least, to the right and below."""
    missing = [max(0, side - own) for side, own in zip(size, picture.shape[1::-1])]
    check_pixels(f'Padded for this model, a picture of {picture.shape[1]:,} x '
                 f'{picture.shape[0]:,} has', picture.shape[1] + missing[0],
                 picture.shape[0] + missing[1], max_pixels)
    return cv2.copyMakeBorder(picture, 0, missing[1], 0, missing[0],
                              cv2.BORDER_CONSTANT, value=value)


def _pad_to_square(picture: np.ndarray, value: list[int], *,
                   max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    return _pad(picture, [max(picture.shape[:2])] * 2, value, max_pixels=max_pixels)


def _pad_to_multiple(picture: np.ndarray, size_divisor: int, value: list[int], *,
                     max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    size = [-(-side // size_divisor) * size_divisor for side in picture.shape[1::-1]]
    return _pad(picture, size, value, max_pixels=max_pixels)


def _to(picture: np.ndarray, size: tuple[int, int], max_pixels: int | None,
        backend: str = 'cv2', interpolation: str = 'bilinear') -> np.ndarray:
    """Resize to width and height, by one of ``INTERPOLATIONS[backend]``."""
    size = tuple(max(1, side) for side in size)
    check_pixels(f'Resized for this model, a picture of {picture.shape[1]:,} x '
                 f'{picture.shape[0]:,} has', *size, max_pixels)
    if backend == 'cv2':
        return cv2.resize(picture, size,
                          interpolation=INTERPOLATIONS['cv2'][interpolation])
    from PIL import Image  # here, since most models need none of it
    return np.asarray(Image.fromarray(picture).resize(
        size, getattr(Image.Resampling, INTERPOLATIONS['pillow'][interpolation])))


INTERPOLATIONS = {
    'cv2': {'nearest': cv2.INTER_NEAREST, 'bilinear': cv2.INTER_LINEAR,
            'bicubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA,
            'lanczos': cv2.INTER_LANCZOS4},
    'pillow': {name: name.upper() for name in (
        'nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos')}}
PADS = {'Pad': _pad, 'PadToSquare': _pad_to_square, 'PadToMultiple': _pad_to_multiple}
STEPS = {**PADS, 'ToFloat32': _to_float32, 'Resize': _resize,
         'ResizeToMultiple': _resize_to_multiple, 'ResizeEdge': _resize_edge,
         'CenterCrop': _centre_crop}
