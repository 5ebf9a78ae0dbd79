"""Detectors whose post-processing is part of the graph: a family of heads, a file."""
from torch import nn

from . import dense, dynamic_masks, mask_queries, queries, regions
from .checks import refusal
from .detector import Detector

# Of each family the heads that it knows, by class, and what exports them.
FAMILIES = (
    (dense.HEADS, dense.SingleStage),
    (dynamic_masks.HEADS, dynamic_masks.DynamicMasks),
    (regions.HEADS, regions.TwoStage),
    (queries.HEADS, queries.Queries),
    (mask_queries.HEADS, mask_queries.MaskQueries))


def find_detector(model: nn.Module, paste: bool = False) -> Detector:
    """Return a detector that exports, by what its head is.

    Args:
        model: MMDetection's.
        paste: Whether its masks are to be pictures.

    Raises:
        ArgumentError: The head is not known, or does what the graph would not.
    """
    head = next((getattr(model, name) for name in (
        'roi_head', 'panoptic_head', 'bbox_head') if hasattr(model, name)), None)
    for kind in type(head).__mro__:
        for heads, family in FAMILIES:
            if kind in heads:
                return family(model, kind, heads[kind], paste)
    known = sorted(kind.__name__ for heads, _ in FAMILIES for kind in heads)
    raise refusal(f'{type(model).__name__} with {type(head).__name__}',
                  f'known heads are {", ".join(known)}, and what is made of them.')
