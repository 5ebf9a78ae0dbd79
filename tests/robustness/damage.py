"""Damage to the bytes of any file."""
from pathlib import Path
from random import Random


def flip(random: Random, data: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes with one to four of [start, end) changed."""
    data = bytearray(data)
    end = len(data) if end is None else end
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data[random.randrange(start, end)] ^= random.choice(
            (1 << random.randrange(8), random.randrange(1, 256)))
    return bytes(data)


def cut(random: Random, data: bytes) -> bytes:
    """Return the beginning: a part of any length, or all but a few bytes."""
    return data[:random.choice((random.randrange(len(data)),
                                len(data) - random.randint(1, 64), 0))]


def mix(random: Random, data: bytes) -> bytes:
    """Return the bytes with a stretch zeroed, random, doubled, left out or moved."""
    start = random.randrange(len(data))
    end = min(len(data), start + 2**random.randrange(12))
    part = data[start:end]
    other = random.choice((bytes(len(part)), random.randbytes(len(part)), part * 2,
                           b'', part[::-1]))
    return data[:start] + other + data[end:]


def append(random: Random, data: bytes) -> bytes:
    return data + random.choice((
        random.randbytes(random.randint(1, 1000)), bytes(random.randint(1, 5000)),
        data, b'\n'))


def no_file_of_ours(random: Random) -> bytes:
    """Return what stands in files that were fetched wrongly, or are others."""
    return random.choice((
        b'', b'\n', b'<!DOCTYPE html><html><body>404</body></html>', bytes(4096),
        b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
        b'PK\x03\x04', b'PK\x05\x06' + bytes(18), b'{}', b'\x80\x02}.', b'\x80\x04N.',
        b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff\xe0', random.randbytes(3000), b'null',
        '{"ключ": "…"}'.encode(), b'\x1f\x8b' + random.randbytes(300)))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
