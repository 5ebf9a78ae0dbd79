"""What a picture's file says of its size, read before any of its pixels."""
import os
from typing import BinaryIO

from .errors import PredictionError, first_line

# What both OpenCV and Pillow read. Pillow has more, which OpenCV does not decode.
FORMATS = ('PNG', 'JPEG', 'BMP', 'DIB', 'WEBP', 'JPEG2000', 'PPM', 'SUN', 'GIF', 'AVIF')
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the latter two for more than 4 GB


def picture_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height.

    Args:
        file: Of the picture.
        name: Of it, for the message.

    Raises:
        OSError: The file cannot be read.
        PredictionError: It does not say, or is no picture.
    """
    start, length = file.read(16), file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        size = _tiff_size(file) if start[:4] in _TIFF else _size(file, start)
    except Exception as error:  # each format has its own
        raise PredictionError(f'{name} ({length:,} bytes) is no picture, or it is '
                              'damaged: its header cannot be read '
                              f'({first_line(error)}).') from error
    if size is None:
        raise PredictionError(
            f'{name} ({length:,} bytes) is no picture that OpenCV reads, or it is '
            'damaged, or its format does not say how large it is before it is read. '
            'Save it as .png, or lift the limit: --max-pixels 0, in Python '
            'max_pixels=None.')
    return size


def _size(file: BinaryIO, start: bytes) -> tuple[int, int] | None:
    """Return what the first of Pillow's formats says that knows the file.

    ``Image.open`` would do, but warns of pictures above a limit of the whole process's
    and refuses those twice as large.
    """
    from PIL import Image
    Image.init()
    damage = None
    for name in FORMATS:
        opener, accepts = Image.OPEN.get(name, (None, None))  # older ones lack AVIF
        if opener is None or not accepts(start):
            continue
        file.seek(0)
        try:
            return opener(file, '').size
        except Exception as error:
            damage = error
    if damage is not None:
        raise damage
    return None


def _tiff_size(file: BinaryIO) -> tuple[int, int]:
    """Return the first page's size; Pillow refuses many kinds of pixels."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2
    header = file.read(8)
    if header[2] == 43 or header[3] == 43:
        header += file.read(8)
    page = ImageFileDirectory_v2(header)
    file.seek(page.next)
    page.load(file)
    return int(page[256]), int(page[257])  # ImageWidth, ImageLength
