"""Masks of objects, from what a model gives to pictures."""
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

Size = tuple[int, int]  # height and width


def _draw_box(out: np.ndarray, mask: np.ndarray, box: np.ndarray,
              metadata: dict[str, Any], content: Size, original: Size) -> None:
    values, place = paste(mask, box, original)
    out[place] = values >= metadata['mask_threshold']


def _draw_pasted(out: np.ndarray, mask: np.ndarray, box: np.ndarray,
                 metadata: dict[str, Any], content: Size, original: Size) -> None:
    mask = np.ascontiguousarray(mask[:content[0], :content[1]])
    out[:] = cv2.resize(mask * 255, original[::-1]) > 127


def _draw_logits(out: np.ndarray, mask: np.ndarray, box: np.ndarray,
                 metadata: dict[str, Any], content: Size, original: Size) -> None:
    """RTMDet-Ins: margin and all, to the size of the original, then cut."""
    mask = _enlarge(mask, metadata['mask_stride'])
    size = [math.ceil(side * before / now) for side, before, now in
            zip(mask.shape, original, content)]
    mask = _to(mask, size)[:original[0], :original[1]]
    threshold = np.float64(metadata['mask_threshold'])
    with np.errstate(divide='ignore'):
        out[:] = mask > np.log(threshold / (1 - threshold))


def _draw_queries(out: np.ndarray, mask: np.ndarray, box: np.ndarray,
                  metadata: dict[str, Any], content: Size, original: Size) -> float:
    """Mask2Former: cut, then to the original; returns the mean of the mask."""
    mask = _enlarge(mask, metadata['mask_stride'])
    mask = _to(np.ascontiguousarray(mask[:content[0], :content[1]]), original)
    out[:] = mask > 0
    inside = mask[out].astype(np.float64)
    return float((1 / (1 + np.exp(-inside))).sum() / (len(inside) + 1e-6))


def _enlarge(mask: np.ndarray, stride: int) -> np.ndarray:
    return _to(mask, [side * stride for side in mask.shape])


def _to(mask: np.ndarray, size: Size) -> np.ndarray:
    """Interpolate linearly to height and width."""
    if tuple(size) == mask.shape:
        return mask
    return cv2.resize(mask, tuple(size[::-1]), interpolation=cv2.INTER_LINEAR)


def box_of(mask: np.ndarray) -> np.ndarray:
    """Return the box (4,) around a mask (H, W) bool, 0 around none."""
    columns, rows = (np.flatnonzero(mask.any(axis)) for axis in (0, 1))
    if not len(columns):
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


# By what the metadata calls masks: into ``out`` (H, W), of one object.
DRAW: dict[str, Callable[..., float | None]] = {
    'boxes': _draw_box, 'pasted': _draw_pasted, 'logits': _draw_logits,
    'queries': _draw_queries}
WHOLE = 'logits', 'queries'  # over the whole picture, at a stride


def paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]
          ) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Return what a mask (h, w) that fills a box is in a picture, and where.

    Interpolated linearly between the mask's pixel centres, and 0 farther out, no
    farther than a pixel around the box, as the toolbox does.

    Args:
        mask: (h, w), 0 to 1.
        box: Left, top, right and bottom, in pixels.
        size: Height and width of the picture.
    """
    if not np.isfinite(box).all():
        return np.zeros((0, 0), np.float32), (slice(0), slice(0))
    # Gathered, not as the product of two matrices that it also is: numpy's threads for
    # those go on to spin, and take the processor from the runtime's next picture.
    samples = np.pad(mask, 1)
    rows, low, high, part = _interpolation(box[1], box[3], mask.shape[0], size[0])
    part = part[:, None]
    samples = samples[low] * (1 - part) + samples[high] * part
    columns, low, high, part = _interpolation(box[0], box[2], mask.shape[1], size[1])
    return samples[:, low] * (1 - part) + samples[:, high] * part, (rows, columns)


def _interpolation(low: float, high: float, count: int, pixels: int
                   ) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels, the padded samples beside each, and the second one's part."""
    where = slice(min(max(int(np.floor(low)) - 1, 0), pixels),
                  min(max(int(np.ceil(high)) + 1, 0), pixels))
    place = np.arange(where.start, where.stop, dtype=np.float32) + 0.5 - low
    with np.errstate(divide='ignore', invalid='ignore'):
        place /= high - low
    place[np.isinf(place)] = 0.5  # boxes without extent, as the toolbox has it
    place = np.nan_to_num(place, nan=-1) * count - 0.5
    before = np.floor(place)
    indices = [np.clip(before + step, 0, count + 1).astype(int) for step in (1, 2)]
    return where, *indices, place - before
