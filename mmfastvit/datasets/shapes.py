"""A generated data set: coloured shapes that overlap on textured grounds.

Small enough to learn in minutes on a laptop, hard enough to need instances:
shapes hide parts of each other, and colours tell nothing about classes. Every
pixel comes from integer arithmetic on a frozen random stream, so the same
seed gives the same pictures on every machine.
"""
import json
import math
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmfastvit.utils.errors import ArgumentError, DataError
from mmfastvit.utils.progress import track

from .textures import integers, texture

VERSION = 2  # of the files; a change of any pixel raises it
CLASSES = ('circle', 'square', 'triangle')
SPLITS = ('train', 'val')


@dataclass(frozen=True)
class ShapesSpec:
    """Everything the pictures depend on.

    Args:
        num_train: Pictures to train on.
        num_val: Pictures to evaluate on, drawn from another stream.
        image_size: Height and width in pixels.
        seed: Seed of all streams.

    Raises:
        ArgumentError: A number is too small to draw with, or the seed too large.
    """

    num_train: int = 800
    num_val: int = 100
    image_size: int = 256
    seed: int = 0

    def __post_init__(self):
        if min(self.num_train, self.num_val) < 1 or self.image_size < 64:
            raise ArgumentError(f'{self}: give at least one picture each to '
                             'train and to evaluate on, of at least 64 '
                             'pixels.')
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f'seed={self.seed}: give 0 to {2**32 - 1}.')


def generate_shapes(root: str, spec: ShapesSpec = ShapesSpec()) -> Path:
    """Write the data set in COCO's layout, all of it or nothing.

    ``annotations/instances_{train,val}.json`` holds boxes and run-length
    masks of what is visible of each shape, ``train/`` and ``val/`` the
    pictures, ``semantic/{train,val}/`` label maps (0 ground, 1 + class),
    ``crops/{train,val}/{class}/`` the shapes of which three quarters or more are
    visible, for classification.

    Args:
        root: Folder to write. If it holds the same data set, nothing is done.
        spec: What to draw.

    Returns:
        ``root`` as a path.

    Raises:
        DataError: ``root`` holds anything else.
    """
    root = Path(root)
    if root.exists():
        if _stored_info(root) == _info(spec):
            return root
        raise DataError(
            f'{root} exists and does not hold the shapes of {spec}. Remove '
            'it, or choose another folder.')
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=root.parent, prefix='.shapes-'))
    try:
        (unfinished / 'annotations').mkdir()
        for i, (split, count) in enumerate(
                zip(SPLITS, (spec.num_train, spec.num_val))):
            random = np.random.RandomState([spec.seed, i])
            _write_split(unfinished, split, count, spec, random)
        unfinished.chmod(0o755)
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def draw_scene(random: np.random.RandomState, size: int
               ) -> tuple[np.ndarray, list[tuple[int, np.ndarray, int]]]:
    """Draw one picture.

    Returns:
        The picture, (size, size, 3) uint8, and for each shape its class, what
        is visible of it, a (size, size) bool mask, and its whole area.
    """
    picture = texture(random, size)
    shapes: list[tuple[int, np.ndarray, int]] = []
    for _ in range(integers(random, 2, 6)):
        label = int(integers(random, 0, len(CLASSES)))
        mask = _mask(random, label, size)
        covering = texture(random, size)
        picture[mask] = covering[mask]
        shapes = [(k, m & ~mask, area) for k, m, area in shapes]
        shapes.append((label, mask, int(mask.sum())))
    # What is hidden by more than two thirds nobody could tell apart; it
    # counts as texture.
    visible = [shape for shape in shapes if 3 * int(shape[1].sum()) > shape[2]]
    return picture, visible


def _mask(random: np.random.RandomState, label: int, size: int) -> np.ndarray:
    """Return where a shape of this class is, (size, size) bool."""
    radius = integers(random, size // 10, size // 4)
    cx, cy = integers(random, radius, size - radius, 2)
    y, x = np.mgrid[:size, :size]
    x, y = x - cx, y - cy
    if CLASSES[label] == 'circle':
        return x * x + y * y <= radius * radius
    # (a, b) turns the shape; sides are integer half-planes, so no rounding.
    a, b = integers(random, -8, 9, 2)
    a = a if a or b else 1
    norm = math.isqrt(int((a * a + b * b) * radius * radius))
    u, v = a * x + b * y, a * y - b * x
    if CLASSES[label] == 'square':
        return (abs(10 * u) <= 8 * norm) & (abs(10 * v) <= 8 * norm)
    # Base at v = norm / 2, apex at v = -norm, 7/4 the usual slope of 1/sqrt(3).
    return (2 * v <= norm) & (7 * abs(u) <= 4 * (v + norm))


def _crop(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the square around a shape, with a margin of an eighth."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    side = max(np.ptp(rows), np.ptp(columns)) * 5 // 4
    size = len(picture)
    top, left = (min(max((int(line[0] + line[-1]) - side) // 2, 0), size - side)
                 for line in (rows, columns))
    return picture[top:top + side, left:left + side]


def _write_split(root: Path, split: str, count: int, spec: ShapesSpec,
                 random: np.random.RandomState) -> None:
    from PIL import Image  # here, so that the backbone needs none of them
    from pycocotools import mask as coco_mask
    crops = [root / 'crops' / split / name for name in CLASSES]
    for folder in (root / split, root / 'semantic' / split, *crops):
        folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in track(range(1, count + 1), f'Drawing {split} pictures'):
        picture, shapes = draw_scene(random, spec.image_size)
        name = f'{image_id:06d}.png'
        labels = np.zeros(picture.shape[:2], np.uint8)
        for label, mask, area in shapes:
            labels[mask] = 1 + label
            if 4 * int(mask.sum()) >= 3 * area:
                Image.fromarray(_crop(picture, mask)).save(
                    crops[label] / f'{len(annotations) + 1:06d}.png')
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=image_id,
                category_id=label + 1, iscrowd=0,
                area=int(mask.sum()), bbox=coco_mask.toBbox(rle).tolist(),
                segmentation=dict(size=rle['size'],
                                  counts=rle['counts'].decode())))
        Image.fromarray(picture).save(root / split / name,
                                      compress_level=1)
        Image.fromarray(labels).save(root / 'semantic' / split / name)
        images.append(dict(id=image_id, file_name=name,
                           height=spec.image_size, width=spec.image_size))
    content = dict(
        info=_info(spec), images=images, annotations=annotations,
        categories=[dict(id=i + 1, name=name)
                    for i, name in enumerate(CLASSES)])
    _annotation_file(root, split).write_text(json.dumps(content))


def _annotation_file(root: Path, split: str) -> Path:
    return root / 'annotations' / f'instances_{split}.json'


def _info(spec: ShapesSpec) -> dict:
    return dict(asdict(spec), version=VERSION)


def _stored_info(root: Path) -> dict | None:
    try:
        return json.loads(_annotation_file(root, 'val').read_text())['info']
    except (OSError, ValueError, KeyError, TypeError):
        return None
