"""Carrier tokens: a few for each window, made of the map, that attend to each other.

Their order is the one thing here that is easy to get wrong. *Raster order* goes row by
row over the whole picture, *window order* window by window, row by row inside.
"""
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.models.layers import Conv2d


class Grid(NamedTuple):
    """How windows lie in a map.

    Attributes:
        rows: Windows one above the other.
        columns: Windows side by side.
        side: Tokens along a side of a window.
        carriers: Carrier tokens along a side of a window; 0 for none.
    """

    rows: int
    columns: int
    side: int
    carriers: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the carrier tokens of the whole picture."""
        return self.rows * self.carriers, self.columns * self.carriers


class CarrierTokens(nn.Module):
    """The first carrier tokens of a stage: a convolution, and averages of its map.

    The averages overlap, and the more so, the more windows there are: along an axis of
    n windows the stride is floor(side / carriers), and as many pixels are averaged as
    the last one needs to end at the edge. (The paper writes a pooling without overlap.)

    Args:
        channels: Channels ``C`` of the map and of the tokens.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Map (B, C, H, W) -> (B, carriers, C), in window order.

        Zeros fill the last windows, and the convolution sees them.
        """
        b, c, h, w = x.shape
        height, width = grid.rows * grid.side, grid.columns * grid.side
        x = self.conv(F.pad(x, (0, width - w, 0, height - h))).permute(0, 2, 3, 1)
        down, across = (_averages(windows, grid, x) for windows in grid[:2])
        rows, columns = grid.shape
        x = across @ x  # (B, height, columns, C)
        x = down @ x.reshape(b, height, columns * c)
        return to_window_order(x.view(b, rows * columns, c), grid)


def _averages(windows: int, grid: Grid, like: Tensor) -> Tensor:
    """Return (tokens, pixels): the part that a pixel has in a token, along an axis."""
    stride = grid.side // grid.carriers
    tokens, pixels = windows * grid.carriers, windows * grid.side
    first = torch.arange(tokens, device=like.device)[:, None] * stride
    width = pixels - (tokens - 1) * stride
    place = torch.arange(pixels, device=like.device)
    return ((place >= first) & (place < first + width)).to(like.dtype) / width


def to_raster_order(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, carriers, C) in window order -> the same in raster order."""
    (b, count, c), n = tokens.shape, grid.carriers
    tokens = tokens.view(b, grid.rows, grid.columns, n, n, c)
    return tokens.transpose(2, 3).reshape(b, count, c)


def to_window_order(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, carriers, C) in raster order -> the same in window order."""
    (b, count, c), n = tokens.shape, grid.carriers
    tokens = tokens.view(b, grid.rows, n, grid.columns, n, c)
    return tokens.transpose(2, 3).reshape(b, count, c)


def spread(tokens: Tensor, grid: Grid) -> Tensor:
    """Enlarge the carrier tokens of windows to all their pixels, the nearest each.

    (windows, carriers * carriers, C) -> (windows, side * side, C).
    """
    nearest = [i * grid.carriers // grid.side for i in range(grid.side)]
    index = [row * grid.carriers + column for row in nearest for column in nearest]
    return tokens[:, torch.tensor(index, device=tokens.device)]
