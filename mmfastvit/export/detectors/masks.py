"""Masks of objects as pictures, in operations that export."""
import torch
from torch import Tensor


def paste_masks(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Return masks (N, height, width), each in its box, and 0 elsewhere.

    What the runtime's ``paste`` computes, of many at a time, as matrix products.

    Args:
        masks: (N, h, w), each over its own box.
        boxes: (N, 4), in pixels.
    """
    rows = _interpolation(boxes[:, 1], boxes[:, 3], masks.shape[1], height)
    columns = _interpolation(boxes[:, 0], boxes[:, 2], masks.shape[2], width)
    return rows @ masks @ columns.transpose(1, 2)


def _interpolation(low: Tensor, high: Tensor, count: int, pixels: int) -> Tensor:
    """Return weights (N, pixels, count) of ``count`` samples between low and high."""
    low, high = low[:, None], high[:, None]
    pixel = torch.arange(pixels, device=low.device)[None]
    place, extent = pixel + 0.5 - low, high - low
    place = torch.where(extent > 0, place / extent,  # (N, pixels)
                        torch.where(place == 0, -1., 0.5))  # as the toolbox has it
    samples = torch.arange(count, device=low.device) + 0.5
    weights = (1 - (place[..., None] * count - samples).abs()).clamp(min=0)
    # The toolbox looks no farther than a pixel around the box.
    inside = (pixel >= low.floor() - 1) & (pixel < high.ceil() + 1)
    return torch.where(inside[..., None], weights, 0.)
