"""Grounds of generated pictures, from integers of a frozen random stream."""
import numpy as np


def integers(random: np.random.RandomState, low: int, high: int, size=None):
    """Draw from [low, high); the default type would differ on Windows."""
    return random.randint(low, high, size, dtype=np.int64)


def texture(random: np.random.RandomState, size: int) -> np.ndarray:
    """Return a colour with coarse and fine blocks, (size, size, 3) uint8."""
    picture = integers(random, 40, 216, 3)
    for cell, contrast in ((integers(random, size // 32, size // 8), 24),
                           (size // 64, 12)):
        side = -(-size // cell)
        cells = integers(random, -contrast, contrast + 1, (side, side, 1))
        picture = picture + cells.repeat(cell, 0).repeat(cell, 1)[:size, :size]
    return np.clip(picture, 0, 255).astype(np.uint8)
