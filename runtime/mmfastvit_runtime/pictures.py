"""Pictures: read as the toolboxes read them, and written."""
import io
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from .errors import PredictionError, first_line
from .files import whole_file
from .headers import picture_size
from .limits import MAX_PIXELS, check_pixels


def read_picture(path: str, max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """Return a picture (H, W, 3) uint8, BGR, as the toolboxes load it.

    Grey, palette, CMYK and 16-bit pictures become 8-bit colour, transparency is
    dropped, and EXIF rotation is applied.

    Args:
        path: The file.
        max_pixels: How many it may have, which its header tells before any is read;
            None allows all.

    Raises:
        PredictionError: It cannot be read, or is too large.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise PredictionError(f'There is no picture {path}.')
        with path.open('rb') as file:
            return _read(file, str(path), max_pixels)
    except OSError as error:
        raise PredictionError(f'{path} cannot be read as a picture: '
                              f'{first_line(error)}') from error


def decode_picture(content: bytes, name: str = 'the picture',
                   max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """Return a picture (H, W, 3) uint8, BGR, of what a file holds.

    Args:
        content: Of the file.
        name: Of the picture, for the message.
        max_pixels: Of :func:`read_picture`.

    Raises:
        PredictionError: It cannot be read, or is too large.
    """
    return _read(io.BytesIO(content), name, max_pixels)


def _read(file: BinaryIO, name: str, max_pixels: int | None) -> np.ndarray:
    if max_pixels is not None:
        check_pixels(f'{name} has', *picture_size(file, name), max_pixels)
        file.seek(0)
    content = np.frombuffer(file.read(), np.uint8)
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except cv2.error as error:
        raise PredictionError(f'{name} cannot be read as a picture: '
                              f'{first_line(error)}') from error
    if picture is None:
        raise PredictionError(f'{name} ({content.size:,} bytes) is no picture that '
                              'OpenCV reads, or it is damaged.')
    return picture


def encode_picture(path: Path, picture: np.ndarray) -> bytes:
    """Return what a file of this name would hold.

    Raises:
        PredictionError: Its name is no picture's, or its format cannot hold it.
    """
    try:
        written, content = cv2.imencode(path.suffix, picture)
    except cv2.error as error:
        raise PredictionError(f'{path} cannot be written: {first_line(error)} '
                              'Name a picture, .png or .jpg.') from error
    if not written:
        raise PredictionError(f'{path}: its format has no pictures of '
                              f'{picture.shape[1]} x {picture.shape[0]}; name a .png.')
    return content.tobytes()


def write_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Raises:
        PredictionError: It cannot be written there.
    """
    content = encode_picture(Path(path), picture)
    with whole_file(Path(path)) as unfinished:
        unfinished.write_bytes(content)
