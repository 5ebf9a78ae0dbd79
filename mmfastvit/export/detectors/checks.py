"""What keeps a detector from being exported: heads that do something else."""
from typing import Any

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import nn

from mmfastvit.utils.errors import ArgumentError

# Of mmcv's batched_nms; the last one only says when it works in parts.
_NMS = ('type', 'iou_threshold', 'class_agnostic', 'split_thr')


def check_methods(head: nn.Module, known: type, *names: str) -> None:
    """Refuse heads that do something else than what the graph computes.

    Args:
        head: A head or a detector.
        known: A class of the toolbox.
        names: Its methods that the graph stands for.

    Raises:
        ArgumentError: A method of the head is not the class's.
    """
    for name in names:
        if getattr(type(head), name) is not getattr(known, name):
            raise refusal(type(head).__name__, f'its {name} is not '
                          f'{known.__name__}\'s, which the graph computes.')


def check_scores(head: nn.Module) -> None:
    """Refuse scores that a loss defines."""
    loss = head.loss_cls
    if (getattr(loss, 'custom_cls_channels', False)
            or getattr(loss, 'custom_activation', False)):
        raise refusal(f'{type(head).__name__} with {type(loss).__name__}',
                      'only sigmoid and softmax scores can.')


def check_extractor(extractor: nn.Module) -> None:
    """Refuse features of regions that are not RoIAlign's."""
    layers = getattr(extractor, 'roi_layers', [])
    if type(extractor) is not SingleRoIExtractor or any(
            type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg'
            for layer in layers):
        raise refusal(f'{type(extractor).__name__} with {layers}',
                      'only SingleRoIExtractor with RoIAlign, averaging, can.')


def check_nms(where: str, cfg: Any, *counts: str) -> None:
    """Refuse a suppression other than plain NMS.

    Args:
        where: Name of ``cfg``, for the message.
        cfg: Of testing.
        counts: Its fields that have to be positive.

    Raises:
        ArgumentError: It is something else.
    """
    nms = cfg.get('nms') or {}
    if (nms.get('type', 'nms') != 'nms' or 'iou_threshold' not in nms
            or set(nms) - set(_NMS)):
        raise refusal(f'{where}.nms={dict(nms)}',
                      "only dict(type='nms', iou_threshold=..., class_agnostic=...) "
                      'can.')
    for name in counts:
        if cfg.get(name, -1) < 1:
            raise refusal(f'{where}.{name}={cfg.get(name)}',
                          'give a positive number.')
    if cfg.get('min_bbox_size', -1) > 0:
        raise refusal(f'{where}.min_bbox_size > 0',
                      'it counts pixels of the picture before it is resized.')


def refusal(what: str, why: str) -> ArgumentError:
    """Return the error that says why something cannot be exported."""
    return ArgumentError(f'{what} cannot be exported: {why} Or export the backbone '
                         'alone (--backbone-only), and run the heads after it.')
