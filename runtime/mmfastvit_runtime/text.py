"""Text on pictures and consoles, in whatever letters classes are named."""
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Of Linux, Windows and macOS, where Pillow finds them by these names; OpenCV's own
# letters are ASCII's.
FONTS = ('DejaVuSans.ttf', 'NotoSans-Regular.ttf', 'arial.ttf', 'Arial Unicode.ttf',
         'NotoSansCJK-Regular.ttc', 'wqy-microhei.ttc', 'msyh.ttc', 'malgun.ttf')
SIZE = 12  # pixels


def printable(text: str) -> str:
    """Return text with escapes for what would steer a terminal or is no letter."""
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def write_text(picture: np.ndarray, text: str, place: tuple[int, int],
               colour: np.ndarray) -> None:
    """Write white text with a coloured rim.

    Letters that no font here has are written as Python's escapes, ``\\u732b``.

    Args:
        picture: (H, W, 3) uint8, changed in place.
        text: One line.
        place: Left end of the line that letters stand on.
        colour: Of the rim, BGR.
    """
    text = printable(text)
    font = None if text.isascii() else font_for(text)
    if font is not None:
        _write_with_font(picture, text, place, colour, font)
        return
    text = text.encode('ascii', 'backslashreplace').decode()
    for thickness, shade in ((3, colour.tolist()), (1, (255, 255, 255))):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, shade,
                    thickness, cv2.LINE_AA)


@lru_cache(maxsize=1024)
def font_for(text: str) -> 'FreeTypeFont | None':
    """Return the first of ``FONTS`` that has all letters, None where none has."""
    from PIL import ImageFont  # here, since most names need none of it
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, SIZE)
        except OSError:
            continue
        missing = _shape(font, '\U0010ffff')  # no letter, and in no font
        if all(char.isspace() or _shape(font, char) != missing for char in text):
            return font
    return None


def _shape(font: 'FreeTypeFont', char: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(char)
    return mask.size, bytes(mask)


def _write_with_font(picture: np.ndarray, text: str, place: tuple[int, int],
                     colour: np.ndarray, font: 'FreeTypeFont') -> None:
    from PIL import Image, ImageDraw
    left, top, right, bottom = font.getbbox(text, anchor='ls', stroke_width=1)
    left, right = (min(max(place[0] + int(x), 0), picture.shape[1])
                   for x in (left - 1, right + 1))
    top, bottom = (min(max(place[1] + int(y), 0), picture.shape[0])
                   for y in (top - 1, bottom + 1))
    if left >= right or top >= bottom:
        return  # outside
    region = Image.fromarray(np.ascontiguousarray(picture[top:bottom, left:right]))
    ImageDraw.Draw(region).text(
        (place[0] - left, place[1] - top), text, fill=(255, 255, 255), font=font,
        anchor='ls', stroke_width=1, stroke_fill=tuple(colour.tolist()))
    picture[top:bottom, left:right] = np.asarray(region)
