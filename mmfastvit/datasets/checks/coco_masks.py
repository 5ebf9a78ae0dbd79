"""Polygons and run lengths, which pycocotools reads without looking.

It reads and writes beyond its memory for a polygon with NaN, and for run lengths
of more pixels than the picture has.
"""
from collections.abc import Callable
from typing import Any

import numpy as np

_AT_ONCE = 1 << 16  # run lengths decoded at once


def mask_fault(annotations: list[dict], usable: np.ndarray, sizes: np.ndarray,
               name: Callable[[int], str]) -> str:
    """Return the first damaged mask in words, '' if all can be read.

    Args:
        annotations: Of COCO's format.
        usable: Which of them are trained on, and so need a mask.
        sizes: Width and height of their pictures, (N, 2).
        name: From an annotation's number to its name.
    """
    encoded: list[tuple[int, bytes]] = []
    for i, ann in enumerate(annotations):
        mask = ann.get('segmentation')
        if isinstance(mask, dict):
            fault = _size_fault(mask, sizes[i])
            counts = mask.get('counts')
            if isinstance(counts, str):
                encoded.append((i, counts.encode()))
            elif not fault and not _are_counts(counts, int(sizes[i].prod())):
                fault = 'has run lengths that are not as many pixels as its size'
        elif mask:
            fault = _polygon_fault(mask)
        else:
            fault = 'has no mask in \'segmentation\'' if usable[i] else ''
        if fault:
            return f'{name(i)} {fault}'
    for start in range(0, len(encoded), _AT_ONCE):
        some = encoded[start:start + _AT_ONCE]
        pixels = sizes[[i for i, _ in some]].prod(1)
        good = decodable([counts for _, counts in some], pixels)
        if not good.all():
            i = some[int(np.argmin(good))][0]
            return f'{name(i)} has run lengths (counts) that are damaged'
    return ''


def decodable(encoded: list[bytes], pixels: np.ndarray) -> np.ndarray:
    """Return which of COCO's compressed run lengths make up so many pixels.

    A run is its difference to the run before the last, in groups of five bits
    from the lowest on, in each of which the sixth bit says that more follow.

    Args:
        encoded: Run lengths of some masks.
        pixels: How many each should have, (N,).
    """
    lengths = np.array([len(one) for one in encoded])
    last = np.cumsum(lengths) - 1
    data = np.frombuffer(b''.join(encoded), np.uint8).astype(np.int64) - 48
    good = lengths > 0
    if not len(data):
        return good
    mask_of = np.repeat(np.arange(len(encoded)), lengths)
    good[mask_of[(data < 0) | (data > 63)]] = False
    stops = (data & 32) == 0
    good[lengths > 0] &= stops[last[lengths > 0]]
    stops[last[lengths > 0]] = True  # so that no run reaches into the next mask
    begins = np.concatenate([[0], np.flatnonzero(stops)[:-1] + 1])
    run_of = np.cumsum(stops) - stops
    place = np.arange(len(data)) - begins[run_of]
    good[mask_of[place > 6]] = False
    place = np.minimum(place, 6)
    runs = np.add.reduceat((data & 31) << (5 * place), begins)
    negative = (data[stops] & 16) > 0
    runs -= np.where(negative, 1 << (5 * (place[stops] + 1)), 0)
    # Sum up the differences of every other run of a mask; its first run stands
    # alone.
    owner = mask_of[begins]
    first = np.searchsorted(owner, np.arange(len(encoded)))
    number = np.arange(len(runs)) - first[owner]
    chain = np.where(number == 0, 0, 1 + number % 2)
    order = np.lexsort((number, chain, owner))
    group = (3 * owner + chain)[order]
    sums = np.cumsum(runs[order])
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    before = np.concatenate([[0], sums])[starts]
    sums -= np.repeat(before, np.diff(np.concatenate([starts, [len(sums)]])))
    good[owner[order][sums < 0]] = False
    total = np.bincount(owner[order], sums.astype(float), len(encoded))
    return good & (total == pixels)


def _size_fault(mask: dict, size: np.ndarray) -> str:
    width, height = (int(side) for side in size)
    if mask.get('size') == [height, width]:
        return ''
    return (f'has a mask of size {mask.get("size")!r}, and its picture is [{height}, '
            f'{width}] (height, width)')


def _are_counts(counts: Any, pixels: int) -> bool:
    return (isinstance(counts, list)
            and all(type(count) is int and count >= 0 for count in counts)
            and sum(counts) == pixels)


def _polygon_fault(polygons: Any) -> str:
    if not isinstance(polygons, list):
        return 'has a segmentation that is neither polygons nor run lengths'
    for polygon in polygons:
        if not isinstance(polygon, list):
            return f'has a polygon {str(polygon)[:40]!r}; it is a list of numbers'
        if len(polygon) % 2:
            return f'has a polygon of {len(polygon)} numbers, which are no pairs x, y'
        if len(polygon) < 6:
            return (f'has a polygon of {len(polygon)} numbers; three corners, six '
                    'numbers, are the least')
        try:
            # Twice as quick as to ask each number; a huge integer is too much.
            values = np.array(polygon, float)
        except (TypeError, ValueError, OverflowError):
            return 'has a polygon with something else than numbers'
        if values.ndim != 1 or not (np.abs(values) < 1e6).all():
            return ('has a polygon with a corner that is NaN, infinite or a million '
                    'pixels away')
    return ''
