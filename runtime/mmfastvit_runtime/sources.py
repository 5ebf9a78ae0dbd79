"""Where pictures come from: a file, a folder or a video."""
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import PredictionError
from .files import library_name
from .limits import MAX_PIXELS, check_pixels

PICTURES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff')
LIST = '.txt'
MAX_ID = 2**63  # which tables hold no longer
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def list_pictures(source: str) -> list[Path]:
    """Return the pictures that ``source`` is, holds in order of their names, or lists.

    Raises:
        PredictionError: It is not there, or holds none.
    """
    source = Path(source)
    try:
        if source.suffix.lower() == LIST and source.is_file():
            return _listed(source)
        if source.is_file():
            return [source]
        found = sorted(path for path in source.iterdir()
                       if path.suffix.lower() in PICTURES) if source.is_dir() else []
    except OSError as error:
        raise PredictionError(f'{source} cannot be read: {error}.') from error
    if not found:
        raise PredictionError(
            f'{source} {"holds no picture" if source.exists() else "is not there"}; '
            f'give a picture or a folder of them ({", ".join(PICTURES)}), or a video '
            f'({", ".join(VIDEOS)}).')
    return found


def _listed(source: Path) -> list[Path]:
    """Return the pictures that a list names, a path in each line, from its folder on.

    Raises:
        PredictionError: It names none, or is no text.
    """
    try:
        lines = source.read_text(encoding='utf-8-sig').split('\n')
    except ValueError as error:
        raise PredictionError(f'{source} is no list of pictures: {error}.') from error
    paths = [source.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise PredictionError(f'{source} names no picture: give a path in each line.')
    if len(set(paths)) < len(paths):
        twice = next(path for path, count in Counter(paths).items() if count > 1)
        raise PredictionError(f'{source} names {twice} twice: name each picture once.')
    return paths


def image_ids(paths: Sequence[Path]) -> list[int]:
    """Return COCO's ids: the numbers that all names are, or 1, 2, 3."""
    stems = [path.stem for path in paths]
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    if len(set(numbers)) == len(paths) and max(numbers) < MAX_ID:
        return numbers
    return list(range(1, len(paths) + 1))


@dataclass(frozen=True)
class Video:
    """A video, opened.

    Attributes:
        count: Frames, as the file says; some files do not know.
        rate: Frames in a second.
    """

    path: Path
    count: int
    rate: float

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3) uint8, BGR."""
        capture = cv2.VideoCapture(library_name(self.path))
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                yield frame
        finally:
            capture.release()


def open_video(path: Path, max_pixels: int | None = MAX_PIXELS) -> Video:
    """Open a video.

    Args:
        path: The file.
        max_pixels: How many a frame may have; None allows all.

    Raises:
        PredictionError: It is not there, or is no video that OpenCV reads, or its
            frames are too large.
    """
    capture = cv2.VideoCapture(library_name(path)) if path.is_file() else None
    if capture is None or not capture.isOpened():
        raise PredictionError(f'{path} is not there, or is no video that OpenCV reads.')
    check_pixels(f'{path} has frames of', int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                 int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), max_pixels)
    count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate <= 1000 else 25.  # damaged files have any
    capture.release()
    return Video(path, count, rate)
