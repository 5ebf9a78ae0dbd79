"""From what a detector's heads say to boxes, in operations that export.

MMDetection's own post-processing loops over pictures, keeps results in
containers and calls mmcv's operators, none of which an exporter can follow. What
is here computes the same, on tensors whose sizes may depend on the picture; NMS
and RoIAlign are torchvision's, which every exporter knows.
"""
from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

# More than any number of regions. The exporter adds up the largest numbers that it
# can think of, and ends beyond what ONNX can hold, unless it is told of a smaller.
MANY = 2**24


def scored_priors(head: nn.Module, maps: tuple[Tensor, ...]
            ) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return scores (N, classes), priors (N, 4) and deltas (N, 4) of each map."""
    logits, deltas = head(maps)
    priors = head.prior_generator.grid_priors(
        [x.shape[2:] for x in logits], dtype=logits[0].dtype,
        device=logits[0].device)
    found = []
    for of_level, anchors, offsets in zip(logits, priors, deltas):
        of_level = of_level[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        scores = of_level.sigmoid() if head.use_sigmoid_cls \
            else of_level.softmax(1)[:, :-1]
        found.append((scores, anchors, offsets[0].permute(1, 2, 0).reshape(-1, 4)))
    return found


def decode_boxes(coder, priors: Tensor, deltas: Tensor) -> Tensor:
    """Return boxes (N, 4), left, top, right, bottom, in pixels.

    What ``DeltaXYWHBBoxCoder`` decodes, before it clips to the picture.

    Args:
        coder: The coder, of which ``means`` and ``stds`` are taken.
        priors: (N, 4), in pixels.
        deltas: (N, 4), as the head gives them.
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    limit = abs(log(16 / 1000))  # of mmdet's delta2bbox
    sides = priors[:, 2:] - priors[:, :2]
    centres = (priors[:, :2] + priors[:, 2:]) * 0.5 + sides * deltas[:, :2]
    halves = sides * deltas[:, 2:].clamp(-limit, limit).exp() * 0.5
    return torch.cat([centres - halves, centres + halves], 1)


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` highest scores, and where they are.

    Where there are fewer, scores of -1 follow, which stand for nothing.

    Args:
        scores: (N,), 0 to 1.
    """
    # A number of results that is fixed exports where a minimum of two does not.
    scores, indices = torch.cat([scores, scores.new_full((count, ), -1.)]).topk(count)
    return scores, torch.where(scores < 0, 0, indices)


def drop_small(boxes: Tensor, scores: Tensor, min_size: float) -> Tensor:
    """Return scores, -1 where a box is not wider and higher than ``min_size``."""
    if min_size < 0:
        return scores
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides > min_size).all(1), scores, -1.)


def longer_side(image: Tensor) -> int | Tensor:
    """Return the height or width of (B, C, H, W), whichever is more."""
    if torch.jit.is_tracing():  # max() would be decided now, for good
        return torch._shape_as_tensor(image)[2:].max()
    return max(image.shape[2:])


def select(boxes: Tensor, scores: Tensor, groups: Tensor, extent: int | Tensor,
           score_thr: float, iou_threshold: float, count: int) -> Tensor:
    """Return the indices of boxes that non-maximum suppression keeps, best first.

    Args:
        boxes: (N, 4), within 0 and ``extent``.
        scores: (N,); only what is above ``score_thr`` is looked at.
        groups: (N,), integers; boxes of different groups do not compete.
        extent: The longer side of the picture.
        count: At most how many.
    """
    candidates = (scores > score_thr).nonzero()[:, 0]
    apart = groups[candidates] * (extent + 1)  # so far that none overlap
    kept = nms(boxes[candidates] + apart[:, None], scores[candidates],
               iou_threshold)
    return candidates[kept[:count]]


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


def region_features(extractor: nn.Module, maps: Sequence[Tensor], boxes: Tensor
                    ) -> Tensor:
    """Return the features (N, C, h, w) of regions, each from the map of its size.

    What ``SingleRoIExtractor`` computes.

    Args:
        extractor: The extractor.
        maps: (1, C, H, W) each, the largest first.
        boxes: (N, 4), in pixels of the picture.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    level = (sides.prod(1).sqrt() / extractor.finest_scale + 1e-6).log2().floor()
    level = level.clamp(0, len(maps) - 1)
    regions = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    features, order = [], []
    for i, (x, layer) in enumerate(zip(maps, extractor.roi_layers)):
        own = (level == i).nonzero()[:, 0]
        if not torch.jit.is_tracing():  # which knows no bounds
            torch._check(own.shape[0] < MANY)
        features.append(roi_align(
            x, regions[own], layer.output_size, layer.spatial_scale,
            layer.sampling_ratio, layer.aligned))
        order.append(own)
    return torch.cat(features)[torch.cat(order).argsort()]
