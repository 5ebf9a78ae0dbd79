"""Pictures: damaged, huge, and of every sort that cameras and programs write."""
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageOps

from mmfastvit_runtime import read_picture

from .case import Case, Kind, anything
from .damage import append, cut, flip, mix, no_file_of_ours, write

LOSSLESS = ('png', 'bmp', 'tiff', 'webp', 'ppm')
LOSSY = ('jpg', 'lossy.webp')
# Formats whose pixels are under no checksum. PNG has CRCs, deflate its Adler sum.
UNTOLD = ('bmp', 'tiff', 'webp', 'ppm', *LOSSY)
_MODES = ('L', 'LA', 'RGBA', '1')  # Pillow's
_SAVED_AS = {'webp': dict(format='webp', lossless=True), 'jpg': dict(format='jpeg'),
             'lossy.webp': dict(format='webp')}


def prepare(good: Path) -> None:
    for suffix in (*LOSSLESS, *LOSSY):
        (good / f'photo.{suffix}').write_bytes(encode(photo(48, 64), suffix))


def photo(height: int, width: int) -> Image.Image:
    """Return a picture with gradients, a shape and a little noise."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1),
                       ((x - width / 2)**2 + (y - height / 2)**2 < 200) * 200], -1)
    noise = np.random.default_rng(height * width).integers(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def encode(picture: Image.Image, suffix: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **{**_SAVED_AS.get(suffix, dict(format=suffix)), **options})
    return buffer.getvalue()


def reading(path: Path, expected: Image.Image, tolerance: float = 0,
            untold: bool = False, refusable: bool = True) -> Case:
    """Return the case of a file that is to be read as ``expected``."""
    pixels = np.asarray(expected.convert('RGB'))[..., ::-1]

    def same(found: np.ndarray) -> bool:
        return (found.shape == pixels.shape and found.dtype == np.uint8
                and np.abs(found.astype(float) - pixels).mean() <= tolerance)

    return Case(lambda: read_picture(str(path)), same, [path.name], untold, refusable)


def damaged(change: Callable[[Random, bytes], bytes], tells: bool
            ) -> Callable[..., Case]:
    """Return a damage to a file's bytes; ``tells``: even without checksums."""
    def damage(random: Random, folder: Path, good: Path) -> Case:
        suffix = random.choice(('png', 'jpg', *LOSSLESS, *LOSSY))
        data = (good / f'photo.{suffix}').read_bytes()
        path = write(folder / f'photo.{suffix}', change(random, data))
        # What a whole file of that format gives, its losses included.
        return reading(path, Image.open(io.BytesIO(data)),
                       2 if suffix in LOSSY else 0,
                       not tells and suffix in UNTOLD)
    damage.__name__ = f'{change.__name__}_of_a_file'
    return damage


def flipped_png_chunks(random: Random, folder: Path, good: Path) -> Case:
    """Change what a chunk says, with the checksum that goes with it."""
    data = (good / 'photo.png').read_bytes()
    chunks, place = [], 8
    while place < len(data):
        size, = struct.unpack('>I', data[place:place + 4])
        chunks.append((data[place + 4:place + 8], data[place + 8:place + 8 + size]))
        place += 12 + size
    i = random.randrange(len(chunks))
    name, content = chunks[i]
    if content:
        chunks[i] = name, flip(random, content)
    elif len(chunks) > 1:
        del chunks[i]
    path = write(folder / 'photo.png', png(chunks))
    return reading(path, photo(48, 64), untold=True)  # somebody meant it


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content
        + struct.pack('>I', zlib.crc32(name + content)) for name, content in chunks)


def huge(random: Random, folder: Path, good: Path) -> Case:
    """Claim a huge size, with or without the pixels for it."""
    width, height = random.choice((
        (30000, 30000), (2**31 - 1, 1), (1, 2**31 - 1), (65500, 65500), (2**20, 2**20),
        (32000, 32000), (20000, 50000), (0, 10), (10, 0)))
    name = random.choice(('png', 'png', 'bmp', 'tiff', 'ppm'))
    if name == 'png':
        header = struct.pack('>IIBBBBB', width, height, random.choice((1, 8)),
                             0, 0, 0, 0)
        pixels = random.choice((b'', zlib.compress(bytes(2**20)),
                                _zeros(min(width * height, 10**9))))
        data = png([(b'IHDR', header), (b'IDAT', pixels), (b'IEND', b'')])
    elif name == 'bmp':
        data = bytearray((good / 'photo.bmp').read_bytes())
        data[18:26] = struct.pack('<ii', min(width, 2**31 - 1), random.choice(
            (1, -1)) * height)
        data = bytes(data)
    elif name == 'ppm':
        data = f'P6 {width} {height} 255\n'.encode() + bytes(1000)
    else:
        data = (good / 'photo.tiff').read_bytes()
        for tag, old, value in ((256, 64, width), (257, 48, height)):
            for kind in (3, 4):
                entry = struct.pack('<HHI', tag, kind, 1)
                data = data.replace(entry + struct.pack('<I', old),
                                    struct.pack('<HHII', tag, 4, 1, value))
    path = write(folder / f'huge.{name}', data)
    return Case(lambda: read_picture(str(path)), anything, [path.name])


def _zeros(count: int) -> bytes:
    """Return ``count`` zero bytes, compressed a million at a time."""
    compressor = zlib.compressobj(1)
    part = bytes(2**20)
    return b''.join([*(compressor.compress(part) for _ in range(count // 2**20)),
                     compressor.flush()])


def other_sorts(random: Random, folder: Path, good: Path) -> Case:
    """Write a whole picture in an unusual way: it is read as what it is."""
    height, width = random.choice(
        ((48, 64), (1, 1), (1, 500), (500, 1), (2, 3), (7, 5)))
    picture = photo(height, width)
    sort = random.choice((*_MODES, 'palette', '16 bit', 'cmyk', 'interlaced', 'frames',
                          'comment', 'suffix', 'compressed'))
    suffix, options, tolerance = 'png', {}, 0
    if sort == 'palette':
        picture = picture.quantize(random.choice((2, 4, 16, 256)))
        suffix = random.choice(('png', 'bmp'))
    elif sort in _MODES:
        picture = picture.convert(sort)
    elif sort == '16 bit':
        picture = picture.convert('L')
        deep = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        suffix = random.choice(('png', 'tiff'))
        path = write(folder / f'deep.{suffix}', encode(deep, suffix))
        return reading(path, picture, refusable=False)
    elif sort == 'cmyk':
        picture, suffix, tolerance = picture.convert('CMYK'), 'jpg', 8
        options = dict(quality=95)
    elif sort == 'interlaced':
        suffix, tolerance, options = 'jpg', 12, dict(progressive=True, quality=95)
    elif sort == 'frames':
        suffix = 'tiff'
        options = dict(save_all=True, append_images=[photo(5, 5)])
    elif sort == 'comment':
        suffix, tolerance, options = 'jpg', 12, dict(quality=95, comment=b'x' * 60000)
    elif sort == 'compressed':
        suffix, options = 'tiff', dict(compression=random.choice(
            ('tiff_lzw', 'tiff_adobe_deflate', 'packbits')))
    data = encode(picture, suffix, **options)
    if suffix == 'jpg':  # what another decoder makes of it
        picture = Image.open(io.BytesIO(data))
    name = random.choice(('a', 'ü b', 'a' * 200))
    path = write(folder / f'{name}.{"xyz" if sort == "suffix" else suffix}', data)
    return reading(path, picture, tolerance, refusable=False)


def rotated(random: Random, folder: Path, good: Path) -> Case:
    """Write a camera's orientation, right, wrong or damaged."""
    picture, exif = photo(48, 64), Image.Exif()
    orientation = random.randrange(10)
    exif[0x0112] = orientation
    data = encode(picture, 'jpg', exif=exif.tobytes(), quality=95)
    untold = random.random() < 0.3
    if untold:
        data = flip(random, data, 20, 60)
    expected = picture
    if 1 <= orientation <= 8:
        expected = picture.copy()
        expected.getexif()[0x0112] = orientation
        expected = ImageOps.exif_transpose(expected)
    return reading(write(folder / 'turned.jpg', data), expected, 12, untold,
                   refusable=untold)


def wrong_file(random: Random, folder: Path, good: Path) -> Case:
    """Give no picture, another suffix, a folder, or nothing."""
    data = no_file_of_ours(random)
    if random.random() < 0.3:
        suffix = random.choice(LOSSLESS)
        path = write(folder / f'photo.{random.choice((*LOSSLESS, "jpg", "gif"))}',
                     (good / f'photo.{suffix}').read_bytes())
        return reading(path, photo(48, 64))
    path = write(folder / 'photo.png', data)
    if random.random() < 0.3:
        path.unlink()
        if random.random() < 0.5:
            path.mkdir()
    return Case(lambda: read_picture(str(path)), lambda found: False, [path.name])


KIND = Kind(prepare, (damaged(flip, False), damaged(cut, True), damaged(mix, False),
                      damaged(append, True), flipped_png_chunks, huge, other_sorts,
                      rotated, wrong_file), count=900)
