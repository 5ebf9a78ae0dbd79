"""Masks of objects, from squares over their boxes to pictures."""
import numpy as np


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
