"""MMSegmentation's BaseSegDataset: pictures, label maps, classes and heads."""
import os
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from PIL import Image

from mmfastvit.utils.errors import ArgumentError, DataError

from . import classes as names
from .presence import check_pictures
from .sets import DataSet

SAMPLE = 50  # maps that are read, from all over the data set
_SECONDS = 10  # after which no more are read
_LARGEST = 64 << 20  # pixels of a map that is read
_ORIENTATION, _ROTATED = 0x0112, (5, 6, 7, 8)  # of EXIF: sides are swapped


def check(data: DataSet, cfg: Config, alone: bool) -> None:
    """Raise a :class:`UserError` if label maps and config disagree.

    All names are looked at, and the labels of some maps.

    Args:
        data: A data set that reads as BaseSegDataset does.
        cfg: Of the whole run.
        alone: Whether it is all of the data of its split.
    """
    classes = data.built.metainfo.get('classes')
    heads = names.heads(cfg)
    if classes:
        names.check_heads(heads, len(classes),
                          f'{data.key}.metainfo.classes has {len(classes)}')
    pairs = _pairs(data)
    check_pictures(data.key, data.built.ann_file or data.built.data_prefix['img_path'],
                   (picture for picture, _ in pairs))
    if data.built.data_prefix.get('seg_map_path') is None or not data.steps(
            'LoadAnnotations'):
        return  # nothing to learn from, or read in a way of its own
    _check_maps_exist(data, [path for _, path in pairs])
    count = min(heads.values(), default=len(classes or ()))
    chosen = np.random.RandomState(0).permutation(len(pairs))[:SAMPLE]
    _check_labels(data, _ignored(cfg), count,
                  list(_read([pairs[i] for i in chosen])))


def _pairs(data: DataSet) -> list[tuple[str, str]]:
    """Return the paths of pictures and maps, as the data set would."""
    built = data.built
    pictures, maps = (built.data_prefix.get(name) or ''
                      for name in ('img_path', 'seg_map_path'))
    if built.ann_file and os.path.isfile(built.ann_file):
        with open(built.ann_file) as file:
            stems = [line.strip() for line in file]
        if not stems:
            raise DataError(f'{built.ann_file} is empty; it has a name a line.')
    else:
        suffix, found = built.img_suffix, []
        for folder, _, files in os.walk(pictures):
            inside = os.path.relpath(folder, pictures)
            found += [os.path.normpath(os.path.join(inside, name)) for name in files
                      if not name.startswith('.')]
        stems = sorted(name[:-len(suffix)] for name in found if name.endswith(suffix))
        if not stems:
            other = _suffixes(found)
            raise ArgumentError(
                f'{data.key}: no picture in {pictures} ends in {suffix!r}, its '
                'img_suffix' + (f'; there are {other}. Write img_suffix='
                                f'{other.split()[0]!r}' if other else
                                ', nor in anything else. Put pictures there.'))
    return [(os.path.join(pictures, stem + built.img_suffix),
             os.path.join(maps, stem + built.seg_map_suffix)) for stem in stems]


def _suffixes(files: list[str]) -> str:
    counts = Counter(os.path.splitext(name)[1] for name in files)
    return ', '.join(f'{suffix} ({count})' for suffix, count in counts.most_common(3))


def _check_maps_exist(data: DataSet, paths: list[str]) -> None:
    folder = data.built.data_prefix['seg_map_path']
    missing = [path for path in paths if not os.path.exists(path)]
    if not missing:
        return
    stem = os.path.basename(missing[0])[:-len(data.built.seg_map_suffix)]
    near = os.path.dirname(missing[0])
    similar = sorted(name for name in os.listdir(near) if name.startswith(stem)) \
        if os.path.isdir(near) else []
    if len(missing) == len(paths) and similar:
        raise ArgumentError(
            f'{data.key}: no map in {folder} ends in {data.built.seg_map_suffix!r}, '
            f'its seg_map_suffix; there is {similar[0]}, for example. Write '
            f'seg_map_suffix={similar[0][len(stem):]!r}')
    raise DataError(
        f'{data.key}: {len(missing)} of {len(paths)} pictures have no map, the first '
        f'is {missing[0]}. Put it there, or take the picture out.')


def _read(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (path, the values that occur) of label maps."""
    start = time.monotonic()
    for picture, path in pairs:
        if time.monotonic() - start > _SECONDS:
            return
        try:
            with Image.open(path) as file:
                if file.width * file.height > _LARGEST:
                    continue
                size, labels = file.size, np.array(file)
        except Image.DecompressionBombError:
            continue
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f'{path} cannot be read as a label map: {error}. '
                            'Copy or export it again.') from error
        if labels.squeeze().ndim != 2 and labels.ndim > 2:
            raise DataError(
                f'{path} has {labels.shape[2]} channels. A label map has one, of which '
                'a pixel is its class\'s number: replace each colour by its number.')
        pixels = _size(picture)
        if pixels and pixels != size:
            raise DataError(
                f'{picture} is {pixels[0]} x {pixels[1]} pixels, and its map {path} '
                f'{size[0]} x {size[1]}. Each pixel needs a label: make the map again.')
        yield path, np.unique(labels)


def _size(picture: str) -> tuple[int, int] | None:
    """Return width and height as OpenCV reads it, None if that is not known."""
    try:
        with Image.open(picture) as file:
            rotated = file.getexif().get(_ORIENTATION) in _ROTATED
            return file.size[::-1] if rotated else file.size
    except Exception:  # of another format; if damaged, training names it
        return None


def _check_labels(data: DataSet, ignored: int, count: int,
                  found: list[tuple[str, np.ndarray]]) -> None:
    reduces = data.built.reduce_zero_label
    present = {int(value) for _, values in found for value in values}
    if not present:
        return
    where = (f'{data.built.data_prefix["seg_map_path"]}, of {data.key} '
             f'({len(found)} of its maps were read)')
    allowed = {ignored} if data.split == 'train' else {ignored, 255}
    learnt = set()
    for path, values in found:
        labels = {_label(int(value), data): int(value) for value in values}
        learnt |= set(labels)
        wrong = [label for label in labels
                 if label not in allowed and not 0 <= label < count]
        if wrong and count:
            value = labels[max(wrong)]
            shifted = not reduces and 0 not in present and present - {255} and max(
                present - {255}) == count
            advice = ('Labels seem to begin at 1: write reduce_zero_label=True'
                      if shifted else 'Write the right number into the map, 255 where '
                      'nothing is to be learnt, or name all classes')
            raise DataError(
                f'{path} has pixels of value {value}, and the config, {data.key}, has '
                f'{count} classes, 0 to {count - 1}'
                + (', after reduce_zero_label=True took 1 away' if reduces else '')
                + f'. {advice}.')
    if not learnt - {ignored, 255}:
        why = (' by reduce_zero_label=True: write reduce_zero_label=False'
               if reduces and 0 in present else
               ': write the classes\' numbers, from 0 on, into the maps')
        raise DataError(f'{where}: every pixel is {sorted(present)}, which is ignored'
                        f'{why}. {names.OPT_OUT}')
    if present == {0, 255} and count > 1:
        raise DataError(
            f'{where}: the maps hold 0 and 255 only, and 255 is ignored, so that '
            'nothing but class 0 would be learnt. Write 1 instead of 255 for the '
            f'foreground. {names.OPT_OUT}')
    if reduces and count > 1 and present - {255} == set(range(count)):
        raise ArgumentError(
            f'{where}: reduce_zero_label=True ignores 0 and takes 1 away from the '
            f'others, but the maps hold just the {count} classes\' own numbers, 0 to '
            f'{count - 1}. Write reduce_zero_label=False. {names.OPT_OUT}')


def _label(value: int, data: DataSet) -> int:
    """Return what LoadAnnotations makes of a value."""
    if not 0 <= value <= 255:
        return value  # which would lose its high bits, and is refused
    if data.built.reduce_zero_label:
        value = 255 if value in (0, 255) else value - 1
    return (data.built.label_map or {}).get(value, value)


def _ignored(cfg: Config) -> int:
    head = (cfg.get('model') or {}).get('decode_head')
    head = head[-1] if isinstance(head, (list, tuple)) and head else head
    return head.get('ignore_index', 255) if isinstance(head, dict) else 255
