"""How much files from anywhere may ask for: the one place that says so."""
from typing import Any

import numpy as np

from .errors import PredictionError

# Pixels of a picture, as it is and as a model takes it. A file of 100 KB can hold a
# thousand million of them. A satellite's tile of 10,980 x 10,980 fits.
MAX_PIXELS = 2**27
MAX_SIDE = 2**15  # pixels, of pictures that a file's metadata may ask for
MAX_METADATA = 2**24  # characters, of JSON in a file
MAX_OBJECTS = 100_000  # in one picture
MAX_LABEL = 2**20  # the largest, of a class
MAX_WINDOWS = 2**16  # that one picture is cut into
MAX_VERTICES = 2**13  # of a mesh
MAX_FACES = 2**14  # triangles of a mesh, twice as many as vertices
MASKS_PER_PIXEL = 64  # bytes of an object's masks for each pixel that is allowed


def check_pixels(what: str, width: int, height: int, max_pixels: int | None) -> None:
    """Refuse a picture that is too large, before it takes memory.

    Args:
        what: The picture, at the beginning of the message.
        width: In pixels.
        height: In pixels.
        max_pixels: How many are allowed; None allows all.

    Raises:
        PredictionError: It has more.
    """
    if max_pixels is not None and width * height > max_pixels:
        raise PredictionError(
            f'{what} {width:,} x {height:,} = {width * height:,} pixels; allowed are '
            f'{max_pixels:,}, since a small file can hold more than the memory. Cut '
            'it into tiles or make it smaller; or, where the memory is large enough, '
            'raise the limit: mmfastvit-predict --max-pixels N, in Python max_pixels '
            '(of read_picture and load).')


def check_masks(count: int, width: int, height: int, max_pixels: int | None) -> None:
    """Refuse masks (count, height, width) that would not fit.

    Raises:
        PredictionError: They hold more than ``MASKS_PER_PIXEL * max_pixels`` bytes.
    """
    if max_pixels is not None and (
            count * width * height > MASKS_PER_PIXEL * max_pixels):
        raise PredictionError(
            f'The masks of {count:,} objects in a picture of {width:,} x {height:,} '
            f'take {count * width * height:,} bytes; allowed are '
            f'{MASKS_PER_PIXEL * max_pixels:,}. Cut the picture into tiles or make it '
            'smaller; or raise the limit: mmfastvit-predict --max-pixels N, in Python '
            'max_pixels (of load).')


def check_batch(pictures: np.ndarray, metadata: dict[str, Any]) -> None:
    """Refuse pictures (B, 3, H, W) that a model cannot compute with.

    Raises:
        PredictionError: There are none, or they have fewer places than the model has
            queries, of which each takes one.
    """
    if not len(pictures):
        raise PredictionError('There are no pictures: give at least one.')
    positions = metadata.get('positions')
    if positions is None:
        return
    height, width = pictures.shape[2:]
    found = sum(-(-height // stride) * -(-width // stride)
                for stride in positions['strides'])
    if found < positions['least']:
        raise PredictionError(
            f'Pictures of {width:,} x {height:,} pixels have {found:,} places; this '
            f'model needs {positions["least"]:,}, one for each query. Make them '
            'larger, or train the model with fewer queries.')


def check_logits(classes: int, width: int, height: int, max_pixels: int | None
                 ) -> None:
    """Refuse logits (classes, height, width) in float32 that would not fit.

    Raises:
        PredictionError: They hold more than ``MASKS_PER_PIXEL * max_pixels`` bytes.
    """
    size = 4 * classes * width * height
    if max_pixels is not None and size > MASKS_PER_PIXEL * max_pixels:
        raise PredictionError(
            f'The logits of {classes:,} classes for {width:,} x {height:,} pixels take '
            f'{size:,} bytes; allowed are {MASKS_PER_PIXEL * max_pixels:,}. Cut the '
            'picture into tiles or make it smaller; or raise the limit: '
            'mmfastvit-predict --max-pixels N, in Python max_pixels (of load).')


def check_sides(size: tuple[int, int], metadata: dict[str, Any]) -> None:
    """Refuse pictures of a height and width that a file was not made for.

    Raises:
        PredictionError: A side is not one of those allowed.
    """
    sides = metadata.get('sides')
    if sides and any(side % sides['divisor'] or not
                     sides['least'] <= side <= sides['most'] for side in size):
        raise PredictionError(
            f'This file takes pictures whose sides are multiples of '
            f'{sides["divisor"]} from {sides["least"]} to {sides["most"]} pixels; this '
            f'one, resized, has {size[1]:,} x {size[0]:,}. Export the model for one '
            'size (--static HxW), to which the runtime resizes, or take .ncnn.param or '
            '.onnx.')
