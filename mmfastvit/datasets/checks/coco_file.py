"""What an annotation file in COCO's format holds, and where it is damaged."""
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mmfastvit.utils.errors import DataError, UserError
from mmfastvit.utils.files import whole_file

from .coco_masks import mask_fault

VERSION = 1  # of CocoFacts; another one is another file in the cache
LARGE = 16 << 20  # bytes: what takes longer to parse than to hash


@dataclass
class CocoFacts:
    """What of an annotation file is held against a config.

    Args:
        categories: Names, in the file's order.
        usable: Of each category, how many annotations MMDetection trains on,
            crowds included.
        singles: Of each category, how many of those are no crowds.
        image_ids: Of the images, in the file's order.
        file_names: Theirs.
        shown: Of each image, the numbers of the categories it is annotated with.
        unusable: Why MMDetection drops what it drops: ``'normalised'``,
            ``'corners'`` (which it does not drop), ``'outside'``, ``'small'`` or
            ``''``.
        mask_fault: The first damaged mask, in words.
        scoring_fault: The first annotation that cannot be scored, in words.
    """
    categories: list[str]
    usable: list[int]
    singles: list[int]
    image_ids: list[Any]
    file_names: list[str]
    shown: list[list[int]]
    unusable: str
    mask_fault: str
    scoring_fault: str


def read_facts(path: str) -> CocoFacts:
    """Read an annotation file, or what was found when it was read before.

    A large file's facts are kept under the hash of its content in
    ``$XDG_CACHE_HOME/mmfastvit``, by default ``~/.cache/mmfastvit``, where that
    can be written. A file is read once a process.

    Raises:
        DataError: It cannot be read, or not as COCO's format.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error}.') from error
    return _read_facts(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_facts(path: str, size: int, changed: int) -> CocoFacts:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error}.') from error
    cached = None
    if size > LARGE:
        folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        cached = folder / 'mmfastvit' / f'coco-{VERSION}-{sha256(raw).hexdigest()}.json'
        try:
            return CocoFacts(**json.loads(cached.read_text()))
        except (OSError, ValueError, TypeError):
            pass  # not there yet, or damaged
    facts = _facts(path, _parse(path, raw))
    if cached is not None:
        try:
            with whole_file(cached) as unfinished:
                unfinished.write_text(json.dumps(asdict(facts)))
        except (OSError, UserError, TypeError):
            pass  # it will be read again
    return facts


def _parse(path: str, raw: bytes) -> dict[str, list[dict]]:
    """Return the three lists of the file."""
    try:
        content = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(
            f'{path} cannot be read as JSON ({len(raw)} bytes): {error}. Copy or '
            'export it again; it is UTF-8 without a byte order mark.') from error
    if not isinstance(content, dict):
        raise DataError(f'{path} is a {type(content).__name__}; COCO\'s format is a '
                        'dict of images, annotations and categories.')
    found = {}
    for name, keys in (('images', ('id', 'file_name', 'width', 'height')),
                       ('categories', ('id', 'name')),
                       ('annotations', ('id', 'image_id', 'category_id', 'bbox',
                                        'area'))):
        # Pictures to be tested on may have no annotations.
        items = content.get(name, [] if name == 'annotations' else None)
        if not isinstance(items, list) or not items and name != 'annotations':
            raise DataError(f'{path} has no list {name!r}, or an empty one; it has '
                            f'{", ".join(map(str, content)) or "nothing"}. COCO\'s '
                            'format has images, annotations and categories.')
        for i, item in enumerate(items):
            lacking = [key for key in keys if not isinstance(item, dict)
                       or key not in item]
            if lacking:
                advice = (': the box\'s width times its height, or the mask\'s number '
                          'of pixels' if lacking[0] == 'area' else '')
                shown = (f' (id {item["id"]})'
                         if isinstance(item, dict) and 'id' in item else '')
                raise DataError(f'{path}: {name}[{i}]{shown} has no {lacking[0]!r}. '
                                f'MMDetection needs it. Write it{advice}.')
        _check_ids(path, name, items)
        found[name] = items
    return found


def _check_ids(path: str, name: str, items: list[dict]) -> None:
    for key in ('id', 'name') if name == 'categories' else ('id', ):
        seen = set()
        for i, item in enumerate(items):
            value = item[key]
            if not isinstance(value, (int, str)):
                raise DataError(f'{path}: {name}[{i}] has the {key} {value!r}; it is '
                                'a number.')
            if value in seen:
                raise DataError(
                    f'{path}: two of its {name} have the {key} {value!r}, of which '
                    'one would hide the other. Give each its own, in the annotations, '
                    'too.')
            seen.add(value)


def _facts(path: str, content: dict[str, list[dict]]) -> CocoFacts:
    images, categories, annotations = (content[name] for name in (
        'images', 'categories', 'annotations'))
    _check_images(path, images)
    numbers = {image['id']: i for i, image in enumerate(images)}
    labels = {category['id']: i for i, category in enumerate(categories)}
    for i, ann in enumerate(annotations):
        for key, known, where in (('image_id', numbers, 'images'),
                                  ('category_id', labels, 'categories')):
            if not isinstance(ann[key], (int, str)) or ann[key] not in known:
                raise DataError(
                    f'{path}: annotations[{i}] (id {ann["id"]}) has the {key} '
                    f'{ann[key]!r}, which none of its {where} has. Add it there, or '
                    'take the annotation out.')
    owners = np.array([numbers[ann['image_id']] for ann in annotations], int)
    sizes = np.array([(image['width'], image['height']) for image in images], float)
    boxes = _numbers(path, annotations, 'bbox', 4)
    areas = _numbers(path, annotations, 'area', 1)[:, 0]
    usable = (_usable(boxes, areas, sizes[owners])
              & ~np.array([bool(ann.get('ignore')) for ann in annotations], bool))
    single = usable & ~np.array([bool(ann.get('iscrowd')) for ann in annotations], bool)
    of = np.array([labels[ann['category_id']] for ann in annotations], int)
    shown: list[set[int]] = [set() for _ in images]
    for owner, label in zip(owners.tolist(), of.tolist()):
        shown[owner].add(label)

    def name(i: int) -> str:
        ann = annotations[i]
        return (f'annotation id {ann["id"]} (image id {ann["image_id"]}, '
                f'{images[owners[i]]["file_name"]})')

    return CocoFacts(
        categories=[category['name'] for category in categories],
        usable=np.bincount(of[usable], minlength=len(labels)).tolist(),
        singles=np.bincount(of[single], minlength=len(labels)).tolist(),
        image_ids=[image['id'] for image in images],
        file_names=[image['file_name'] for image in images],
        shown=[sorted(labels) for labels in shown],
        unusable=_why(boxes, areas, sizes[owners]),
        mask_fault=mask_fault(annotations, usable, sizes[owners].astype(int), name),
        scoring_fault=_scoring_fault(annotations, name))


def _check_images(path: str, images: list[dict]) -> None:
    for i, image in enumerate(images):
        name, sides = image['file_name'], (image['width'], image['height'])
        if not isinstance(name, str) or not name:
            raise DataError(f'{path}: images[{i}] has the file_name {name!r}; it is a '
                            'name.')
        if not all(type(side) in (int, float) and 0 < side < 1e9 for side in sides):
            raise DataError(f'{path}: images[{i}] ({name}) is {sides[0]!r} wide and '
                            f'{sides[1]!r} high. Write its width and height in pixels.')


def _numbers(path: str, annotations: list[dict], key: str, count: int) -> np.ndarray:
    """Return ``count`` finite numbers of each annotation, (N, count)."""
    for i, ann in enumerate(annotations):
        values = ann[key] if count > 1 else [ann[key]]
        if not (isinstance(values, list) and len(values) == count and all(
                type(value) in (int, float) and -1e12 < value < 1e12
                for value in values)):
            what = '[x, y, width, height]' if count > 1 else 'a number'
            raise DataError(f'{path}: annotations[{i}] (id {ann["id"]}) has the {key} '
                            f'{ann[key]!r}; it is {what}, in pixels.')
    return np.array([ann[key] for ann in annotations], float).reshape(-1, count)


def _usable(boxes: np.ndarray, areas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which annotations ``CocoDataset.parse_data_info`` keeps."""
    inside = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes) - np.maximum(boxes[:, :2],
                                                                         0)
    return (inside > 0).all(1) & (areas > 0) & (boxes[:, 2:] >= 1).all(1)


def _why(boxes: np.ndarray, areas: np.ndarray, sizes: np.ndarray) -> str:
    """Return what is wrong with all boxes, if it is the same with all."""
    if not len(boxes):
        return ''
    ends = boxes[:, :2] + boxes[:, 2:]
    if (boxes >= 0).all() and (ends <= 2).all() and (sizes > 2).all():
        return 'normalised'
    if ((ends <= 0) | (boxes[:, :2] >= sizes)).any(1).all():
        return 'outside'
    if (boxes[:, 2:] < 1).any(1).all() or (areas <= 0).all():
        return 'small'
    corners = ((boxes[:, :2] >= 0) & (boxes[:, 2:] > boxes[:, :2])
               & (boxes[:, 2:] <= sizes)).all()
    beyond = (ends > sizes + 1).any(1).mean()
    return 'corners' if corners and beyond > 0.5 and len(boxes) > 3 else ''


def _scoring_fault(annotations: list[dict], name: Callable[[int], str]) -> str:
    for i, ann in enumerate(annotations):
        if ann.get('iscrowd') not in (0, 1):
            return f'{name(i)} has no \'iscrowd\'; write 0, or 1 for a crowd'
    return ''
