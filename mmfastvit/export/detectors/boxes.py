"""Where heads look, and what boxes their numbers mean."""
from collections.abc import Callable
from math import log

import torch
from mmdet.models.task_modules import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from .checks import refusal

Size = tuple[int, int]  # height and width of a picture


def _from_deltas(coder: DeltaXYWHBBoxCoder, priors: Tensor, deltas: Tensor) -> Tensor:
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    limit = abs(log(16 / 1000))  # of mmdet's delta2bbox
    sides = priors[..., 2:] - priors[..., :2]
    centres = (priors[..., :2] + priors[..., 2:]) * 0.5 + sides * deltas[..., :2]
    halves = sides * deltas[..., 2:].clamp(-limit, limit).exp() * 0.5
    return torch.cat([centres - halves, centres + halves], -1)


def _from_distances(coder: DistancePointBBoxCoder, priors: Tensor, distances: Tensor
                    ) -> Tensor:
    points = priors[..., :2]
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)


CODERS: dict[type, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    DeltaXYWHBBoxCoder: _from_deltas, DistancePointBBoxCoder: _from_distances}
# What the runtime calls them, which decodes for phones and boards.
NAMES = {DeltaXYWHBBoxCoder: 'deltas', DistancePointBBoxCoder: 'distances'}


def check_coder(head: nn.Module) -> None:
    """Refuse a head whose boxes mean something else.

    Raises:
        ArgumentError: Its coder is not known.
    """
    coder = head.bbox_coder
    if type(coder) not in CODERS or getattr(coder, 'add_ctr_clamp', False):
        raise refusal(
            f'{type(head).__name__} with {type(coder).__name__}', 'only '
            f'{" and ".join(row.__name__ for row in CODERS)}, without add_ctr_clamp, '
            'can.')


def decode(coder: nn.Module, priors: Tensor, numbers: Tensor, size: Size) -> Tensor:
    """Return boxes (..., 4), left, top, right and bottom, in pixels.

    Args:
        coder: Of ``CODERS``.
        priors: Boxes (..., 4), or points (..., 2), in pixels.
        numbers: (..., 4), as the head gives them.
        size: Of the picture, to which boxes are cut where the coder says so.
    """
    boxes = CODERS[type(coder)](coder, priors, numbers)
    return clip_boxes_to_image(boxes, size) if coder.clip_border else boxes


def drop_small(boxes: Tensor, scores: Tensor, min_size: float) -> Tensor:
    """Return scores, -1 where a box is not wider and higher than ``min_size``."""
    if min_size < 0:
        return scores
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.where((sides > min_size).all(-1), scores, -1.)


def extent_of(boxes: Tensor, size: Size, clipped: bool) -> float | Tensor:
    """Return more than the distance between the borders of any two boxes."""
    if not clipped:
        return boxes.max() - boxes.min() + 1
    if torch.jit.is_tracing():  # max() would be decided now, for good
        return torch.stack([torch.as_tensor(side) for side in size]).max() + 1
    return max(size) + 1


def take(values: Tensor, places: Tensor) -> Tensor:
    """Return of values (B, N, C) those at places (B, K), (B, K, C)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


def rows(x: Tensor, width: int) -> Tensor:
    """Return a map (B, N * width, H, W) as rows (B, H * W * N, width)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)
