"""What keeps a detector from being exported: heads that do something else."""
from typing import Any

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import nn

from mmfastvit.utils.errors import ArgumentError


def check_methods(head: nn.Module, known: type, *names: str) -> None:
    """Refuse heads that do something else than what the graph computes."""
    for name in names:
        if getattr(type(head), name) is not getattr(known, name):
            raise refusal(type(head).__name__, f'its {name} is not '
                           f'{known.__name__}\'s, which the graph computes.')


def check_coder(head: nn.Module) -> None:
    coder, loss = head.bbox_coder, head.loss_cls
    if (type(coder) is not DeltaXYWHBBoxCoder or coder.add_ctr_clamp
            or not coder.clip_border):
        raise refusal(f'{type(head).__name__} with {type(coder).__name__}',
                       'only a plain DeltaXYWHBBoxCoder that clips to the border '
                       'can.')
    if getattr(loss, 'custom_cls_channels', False):
        raise refusal(f'{type(head).__name__} with {type(loss).__name__}',
                       'only sigmoid and softmax scores can.')


def check_extractor(extractor: nn.Module) -> None:
    layers = getattr(extractor, 'roi_layers', [])
    if type(extractor) is not SingleRoIExtractor or any(
            type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg'
            for layer in layers):
        raise refusal(f'{type(extractor).__name__} with {layers}',
                       'only SingleRoIExtractor with RoIAlign, averaging, can.')


def check_nms(where: str, cfg: Any) -> None:
    nms = cfg.get('nms', {})
    others = {**nms, 'type': None, 'iou_threshold': None}
    if (nms.get('type') != 'nms' or 'iou_threshold' not in nms
            or set(others.values()) != {None}):
        raise refusal(f'{where}.nms={dict(nms)}',
                       "only dict(type='nms', iou_threshold=...) can.")
    for name in ('nms_pre', 'max_per_img') if where.endswith(
            ('test_cfg', 'rpn')) else ('max_per_img', ):
        if cfg.get(name, -1) < 1:
            raise refusal(f'{where}.{name}={cfg.get(name)}',
                           'give a positive number.')


def refusal(what: str, why: str) -> ArgumentError:
    return ArgumentError(f'{what} cannot be exported: {why} Or export the backbone '
                         'alone (--backbone-only), and run the heads after it.')
