"""From the logits of a resized picture to the class of each pixel of the original."""
import cv2
import numpy as np

from .prediction import Arrays

BAND = 2**20  # pixels that are labelled at a time: a few arrays of 4 MB


def label(found: Arrays, size: tuple[int, int], original: tuple[int, int]
           ) -> np.ndarray:
    """Return the best class of each pixel (H, W) of the original.

    A class and some rows at a time: the memory does not grow with the classes, and
    the arrays stay in the cache.
    """
    if size == original:
        return found['labels'][0]
    logits, width = found['logits'][0], original[1]
    low, high, part = _rows(logits.shape[1], original[0])
    labels = np.empty(original, found['labels'].dtype)
    count = max(1, BAND // width)
    for top in range(0, original[0], count):
        band = slice(top, top + count)
        first, last = low[band][0], high[band][-1] + 1
        labels[band] = _label_band(logits[:, first:last], width, low[band] - first,
                                   high[band] - first, part[band, None])
    return labels


def _label_band(logits: np.ndarray, width: int, low: np.ndarray, high: np.ndarray,
                part: np.ndarray) -> np.ndarray:
    """Return the best class of some rows' pixels, of the rows of logits beside them."""
    labels = np.zeros((len(low), width), np.int32)
    highest = np.full(labels.shape, -np.inf, np.float32)
    for i, rows in enumerate(logits):
        rows = cv2.resize(rows.astype(np.float32, copy=False), (width, len(rows)))
        values = rows[low] * (1 - part)
        values += rows[high] * part
        better = values > highest
        np.copyto(labels, i, where=better)
        np.copyto(highest, values, where=better)
    return labels


def _rows(count: int, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the samples above and below each pixel, and the second one's part.

    Those of OpenCV, and of PyTorch without ``align_corners``.
    """
    place = (np.arange(pixels) + 0.5) * (count / pixels) - 0.5
    place = place.clip(0, count - 1)
    low = np.floor(place).astype(int)
    return low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32)
