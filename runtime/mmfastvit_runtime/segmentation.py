"""From the logits of a resized picture to the class of each pixel of the original."""
from collections.abc import Callable

import cv2
import numpy as np

from .prediction import Arrays

BAND = 2**20  # pixels that are labelled at a time: a few arrays of 4 MB


def label(found: Arrays, size: tuple[int, int], original: tuple[int, int],
          align_corners: bool = False) -> np.ndarray:
    """Return the best class of each pixel (H, W) of the original.

    A class and some rows at a time: the memory does not grow with the classes, and
    the arrays stay in the cache.

    Args:
        found: ``labels`` (1, H', W') and ``logits`` (1, classes, h, w).
        size: H' and W', of the picture as it was resized.
        original: H and W.
        align_corners: Whether the outer pixels' centres fall on each other, and not
            the pictures' edges.
    """
    if size == original:
        return found['labels'][0]
    logits, width = found['logits'][0], original[1]
    low, high, part = _samples(logits.shape[1], original[0], align_corners)
    widen = _widened if align_corners else _resized
    labels = np.empty(original, found['labels'].dtype)
    count = max(1, BAND // width)
    for top in range(0, original[0], count):
        band = slice(top, top + count)
        first, last = low[band][0], high[band][-1] + 1
        labels[band] = _label_band(logits[:, first:last], width, low[band] - first,
                                   high[band] - first, part[band, None], widen)
    return labels


def _label_band(logits: np.ndarray, width: int, low: np.ndarray, high: np.ndarray,
                part: np.ndarray, widen: Callable) -> np.ndarray:
    """Return the best class of some rows' pixels, of the rows of logits beside them."""
    labels = np.zeros((len(low), width), np.int32)
    highest = np.full(labels.shape, -np.inf, np.float32)
    for i, rows in enumerate(logits):
        rows = widen(rows.astype(np.float32, copy=False), width)
        values = rows[low] * (1 - part)
        values += rows[high] * part
        better = values > highest
        np.copyto(labels, i, where=better)
        np.copyto(highest, values, where=better)
    return labels


def _resized(rows: np.ndarray, width: int) -> np.ndarray:
    return cv2.resize(rows, (width, len(rows)))


def _widened(rows: np.ndarray, width: int) -> np.ndarray:
    """Resize with ``align_corners``, which OpenCV does not have."""
    low, high, part = _samples(rows.shape[1], width, True)
    return rows[:, low] * (1 - part) + rows[:, high] * part


def _samples(count: int, pixels: int, align_corners: bool
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the samples before and after each pixel, and the second one's part.

    Those of PyTorch, and without ``align_corners`` of OpenCV, too.
    """
    place = (np.arange(pixels) * ((count - 1) / max(pixels - 1, 1)) if align_corners
             else (np.arange(pixels) + 0.5) * (count / pixels) - 0.5)
    place = place.clip(0, count - 1)
    low = np.floor(place).astype(int)
    return low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32)
