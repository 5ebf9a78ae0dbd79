"""Pictures that a segmentor sees through windows: cut, run, averaged, labelled."""
from collections.abc import Callable, Iterator
from itertools import groupby, islice, product
from typing import Any

import numpy as np

from .errors import PredictionError
from .limits import MAX_PIXELS, MAX_WINDOWS, check_logits
from .prediction import Arrays

# Pixels of the windows that run as one batch, but at least one window of each picture:
# as many as a usual picture has that runs whole.
AT_A_TIME = 2**20
BAND = 2**20  # pixels that are labelled at a time

Window = tuple[slice, slice]


def run(engine: Callable[[np.ndarray], Arrays], pictures: np.ndarray,
        metadata: dict[str, Any], max_pixels: int | None = MAX_PIXELS) -> Arrays:
    """Return what a file that takes windows finds in pictures.

    Args:
        engine: Maps windows (N, 3, h, w) to ``labels`` and ``logits``
            (N, classes, h, w).
        pictures: (B, 3, H, W) uint8.
        metadata: With ``slide``, and maybe ``pad_divisor``.
        max_pixels: Of :class:`mmfastvit_runtime.ExportedModel`.

    Returns:
        ``labels`` (B, H, W) and ``logits`` (B, classes, H, W), the mean of all windows
        that a pixel is in.

    Raises:
        PredictionError: There are too many windows, their logits would take too much
            memory, or the file gives others than these.
    """
    size = pictures.shape[2:]
    rows, columns = (
        _spans(side, crop, stride, metadata.get('pad_divisor') or 1)
        for side, crop, stride in zip(size, metadata['slide']['crop_size'],
                                      metadata['slide']['stride']))
    if len(rows) * len(columns) > MAX_WINDOWS:
        raise PredictionError(
            f'A picture of {size[1]:,} x {size[0]:,} has more windows of slide='
            f'{metadata["slide"]} than the {MAX_WINDOWS:,} that are allowed. Make it '
            'smaller, or export the model with a longer stride.')
    sums = None
    for windows in _batches(product(rows, columns), len(pictures)):
        batch = np.concatenate([pictures[(..., *window)] for window in windows])
        logits = engine(np.ascontiguousarray(batch))['logits']
        _check(logits, batch, sums)
        if sums is None:
            check_logits(len(pictures) * logits.shape[1], *size[::-1], max_pixels)
            sums = np.zeros((len(pictures), logits.shape[1], *size), np.float32)
        for i, window in enumerate(windows):
            sums[(..., *window)] += logits[i * len(pictures):(i + 1) * len(pictures)]
    sums /= _counts(rows, size[0])[:, None] * _counts(columns, size[1])
    return {'labels': _largest(sums), 'logits': sums}


def _spans(side: int, crop: int, stride: int, divisor: int) -> list[slice]:
    """Return the windows along one axis, as MMSegmentation places them.

    Every one is as long as ``crop``, the last one moved back for that; of a smaller
    picture there is one, all of it. They lie on the padded picture, of which
    the file pads what is not there.
    """
    padded = -(-side // divisor) * divisor
    spans = []
    for start in range(0, max(padded - crop + stride - 1, 0) // stride * stride + 1,
                       stride):
        end = min(start + crop, padded)
        spans.append(slice(max(end - crop, 0), min(end, side)))
        if len(spans) > MAX_WINDOWS:
            break  # too many, however many there are
    return spans


def _batches(windows: Iterator[Window], pictures: int) -> Iterator[list[Window]]:
    """Yield windows of equal shape, as many as run at a time."""
    for (height, width), equal in groupby(windows, key=_shape):
        count = max(1, AT_A_TIME // (height * width * pictures))
        while batch := list(islice(equal, count)):
            yield batch


def _shape(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def _check(logits: np.ndarray, batch: np.ndarray, sums: np.ndarray | None) -> None:
    classes = logits.shape[1] if sums is None and logits.ndim > 1 else (
        0 if sums is None else sums.shape[1])
    wanted = (len(batch), classes, *batch.shape[2:])
    if logits.shape != wanted or not classes or logits.dtype.kind != 'f':
        raise PredictionError(
            f'The file is damaged: of {len(batch)} windows of {batch.shape[2]} x '
            f'{batch.shape[3]}, its logits have the shape {logits.shape} of '
            f'{logits.dtype}; allowed is (windows, classes, height, width) of floats. '
            'Export the model again.')


def _counts(spans: list[slice], side: int) -> np.ndarray:
    """Return how many windows each pixel along one axis is in."""
    counts = np.zeros(side, np.float32)
    for span in spans:
        counts[span] += 1
    return counts


def _largest(logits: np.ndarray) -> np.ndarray:
    """Return the class of each pixel (B, H, W); some rows at a time, as it copies."""
    count, _, height, width = logits.shape
    labels = np.empty((count, height, width), np.int64)
    rows = max(1, BAND // (width * count))
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        labels[:, band] = logits[:, :, band].argmax(1)
    return labels
