"""From candidates to the objects of each picture, in operations that export.

MMDetection's own post-processing loops over pictures, keeps results in
containers and calls mmcv's operators, none of which an exporter can follow. What
is here computes the same for a batch. Numbers of objects may depend on the
pictures: they lie in one list, those of a picture side by side, until
:meth:`Objects.padded` gives each picture as many rows.
"""
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

# More than any number of regions. The exporter adds up the largest numbers that it
# can think of, and ends beyond what ONNX can hold, unless it is told of a smaller.
MANY = 2**24


@dataclass
class Candidates:
    """Boxes of which some are objects, of all pictures in one list.

    Attributes:
        boxes: (N, 4), left, top, right and bottom, in pixels.
        scores: (N,), below 0 where there is none.
        labels: (N,), classes, or levels of a pyramid.
        pictures: (N,), the picture of each, from 0 on.
        batch: How many pictures there are.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    pictures: Tensor
    batch: int

    @classmethod
    def of_pictures(cls, boxes: Tensor, scores: Tensor, labels: Tensor
                    ) -> 'Candidates':
        """Return those of boxes (B, N, 4), scores (B, N) and labels (B, N)."""
        batch, count = scores.shape
        pictures = torch.arange(batch, device=scores.device)[:, None].expand(
            batch, count)
        return cls(boxes.flatten(0, 1), scores.flatten(), labels.flatten(),
                   pictures.flatten(), batch)


@dataclass
class Objects:
    """What was chosen of a list, by picture, of each the best first.

    Attributes:
        indices: (K,), in the list.
        pictures: (K,), the picture of each.
        counts: (B,), how many each picture has.
        rows: How many rows each picture has in what is padded.
    """

    indices: Tensor
    pictures: Tensor
    counts: Tensor
    rows: int

    def padded(self, values: Tensor, fill: float = 0) -> Tensor:
        """Map (K, ...), a row for each object, to (B, rows, ...)."""
        rows = torch.arange(self.rows, device=values.device)[None]
        starts = self.counts.cumsum(0) - self.counts
        places = torch.where(rows < self.counts[:, None], starts[:, None] + rows,
                             values.shape[0])
        nothing = values.new_full((1, *values.shape[1:]), fill)
        return torch.cat([values, nothing])[places]


def check_few(count: int) -> None:
    """Tell the exporter that a number of objects or regions is below ``MANY``."""
    if not torch.jit.is_tracing():  # which knows no bounds
        torch._check(count < MANY)


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return each picture's ``count`` highest scores, and where they are.

    Where there are fewer, scores of -1 follow, which stand for nothing.

    Args:
        scores: (B, N), 0 to 1.
        count: How many; below 1 all.
    """
    if count < 1:
        return scores, torch.arange(scores.shape[1], device=scores.device).expand(
            scores.shape)
    # A number of results that is fixed exports where a minimum of two does not.
    nothing = scores.new_full((1, count), -1.).expand(scores.shape[0], count)
    scores, indices = torch.cat([scores, nothing], 1).topk(count, 1)
    return scores, torch.where(scores < 0, 0, indices)


def select(candidates: Candidates, extent: float | Tensor, cfg: dict[str, Any],
           most: int | None) -> Objects:
    """Choose objects by non-maximum suppression.

    Args:
        candidates: Of which those with scores below 0 are left out.
        extent: More than the distance between the borders of any two boxes.
        cfg: ``iou_threshold`` (of two boxes that overlap more, the better stays) and
            perhaps ``class_agnostic`` (whether boxes of two classes compete, too).
        most: How many a picture may have; None allows all.
    """
    chosen = (candidates.scores >= 0).nonzero()[:, 0]
    pictures, boxes = candidates.pictures[chosen], candidates.boxes[chosen]
    # One suppression for all: moved so far, a class to the right, a picture
    # downwards, boxes that do not compete do not overlap.
    right = candidates.labels[chosen]
    if cfg.get('class_agnostic'):
        right = torch.zeros_like(right)
    offsets = torch.stack([right, pictures], 1).to(boxes.dtype) * extent
    kept = nms(boxes + offsets.repeat(1, 2), candidates.scores[chosen],
               cfg['iou_threshold'])
    return _by_picture(chosen[kept], pictures[kept], candidates.batch, most)


def _by_picture(indices: Tensor, pictures: Tensor, batch: int, most: int | None
                ) -> Objects:
    """Return objects (K,), the best first, by picture, at most so many of each."""
    count = indices.shape[0]
    check_few(count)
    order = torch.arange(count, device=indices.device)
    order = (pictures * count + order).argsort()
    indices, pictures = indices[order], pictures[order]
    counts = (pictures[None] == torch.arange(batch, device=pictures.device)[:, None]
              ).sum(1)
    if most is None:
        return Objects(indices, pictures, counts, count)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(count, device=indices.device) - starts[pictures]
    within = (rank < most).nonzero()[:, 0]
    # Old operators clamp no integers.
    counts = torch.where(counts > most, most, counts)
    return Objects(indices[within], pictures[within], counts, most)
