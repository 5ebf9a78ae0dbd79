"""Detectors whose post-processing is part of the graph."""
from inspect import signature
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from ..errors import ArgumentError
from .post_processing import (
    best,
    clip_boxes,
    decode_boxes,
    drop_small,
    longer_side,
    paste_masks,
    region_features,
    select,
)
from .preprocessing import Preprocess


class SingleStage(nn.Module):
    """A single-stage detector: picture in, boxes out.

    Args:
        model: MMDetection's detector, its head with anchors and sigmoid or
            softmax scores; RetinaNet is one.

    Raises:
        ArgumentError: The head does what the graph would not.
    """

    outputs = ['boxes', 'scores', 'labels']

    def __init__(self, model: nn.Module):
        super().__init__()
        head = model.bbox_head
        _check_methods(model, SingleStageDetector, 'predict')
        _check_methods(head, BaseDenseHead, 'predict_by_feat',
                       '_predict_by_feat_single', '_bbox_post_process')
        given = list(signature(head.loss_by_feat).parameters)
        if given[:3] != ['cls_scores', 'bbox_preds', 'batch_gt_instances']:
            raise _refusal(type(head).__name__, f'it also gives {given[2]}; only '
                           'scores and boxes are known.')
        _check_coder(head)
        _check_nms('model.test_cfg', model.test_cfg)
        if model.test_cfg.get('min_bbox_size', -1) > 0:
            raise _refusal('model.test_cfg.min_bbox_size > 0', 'it counts pixels of '
                           'the picture before it is resized.')
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find objects in one picture.

        Args:
            image: (1, 3, H, W), 0 to 255.

        Returns:
            Boxes (N, 4) in pixels of ``image``, scores (N,) and labels (N,),
            the best first.
        """
        height, width = image.shape[2:]
        head, cfg = self.model.bbox_head, self.model.test_cfg
        maps = self.model.extract_feat(self.preprocess(image))
        scores, priors, deltas, labels = [], [], [], []
        for of_level, anchors, offsets in _levels(head, maps):
            values, indices = best(of_level.flatten(), cfg.nms_pre)
            place = indices // of_level.shape[1]
            scores.append(values)
            labels.append(indices % of_level.shape[1])
            priors.append(anchors[place])
            deltas.append(offsets[place])
        scores, labels = torch.cat(scores), torch.cat(labels)
        boxes = clip_boxes(decode_boxes(
            head.bbox_coder, torch.cat(priors), torch.cat(deltas)), height, width)
        scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
        kept = select(boxes, scores, labels, longer_side(image),
                      cfg.get('score_thr', 0), cfg.nms.iou_threshold,
                      cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]


class TwoStage(nn.Module):
    """A two-stage detector: picture in, boxes and masks out.

    Args:
        model: MMDetection's detector of an RPN and a standard RoI head; Faster
            and Mask R-CNN are.
        paste: Whether its masks are to be pictures.

    Raises:
        ArgumentError: A head does what the graph would not.
    """

    outputs = SingleStage.outputs
    lowest_opset = 16  # whose RoIAlign is the first to know aligned=True

    def __init__(self, model: nn.Module, paste: bool = False):
        super().__init__()
        _check_methods(model, TwoStageDetector, 'predict')
        if not model.with_rpn:
            raise _refusal(type(model).__name__, 'it has no RPN of its own.')
        rpn, roi = model.rpn_head, model.roi_head
        _check_methods(rpn, RPNHead, 'predict_by_feat', '_predict_by_feat_single',
                       '_bbox_post_process')
        _check_methods(roi, StandardRoIHead, 'predict', 'predict_bbox',
                       '_bbox_forward', 'predict_mask', '_mask_forward')
        _check_methods(roi.bbox_head, BBoxHead, 'predict_by_feat',
                       '_predict_by_feat_single')
        _check_extractor(roi.bbox_roi_extractor)
        for head in (rpn, roi.bbox_head):
            _check_coder(head)
        if roi.with_shared_head or roi.bbox_head.custom_cls_channels:
            raise _refusal(
                f'{type(roi).__name__} with a shared head or activations of its loss',
                'only those without can.')
        if roi.with_mask:
            _check_methods(roi.mask_head, FCNMaskHead, 'predict_by_feat',
                           '_predict_by_feat_single')
            _check_extractor(roi.mask_roi_extractor)
            self.outputs = [*self.outputs, 'masks']
        _check_nms('model.test_cfg.rpn', model.test_cfg.rpn)
        _check_nms('model.test_cfg.rcnn', model.test_cfg.rcnn)
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model, self.paste = model, paste

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find objects in one picture.

        Args:
            image: (1, 3, H, W), 0 to 255.

        Returns:
            Boxes (N, 4) in pixels of ``image``, scores (N,) and labels (N,),
            the best first; with a mask head also masks (N, h, w), 0 to 1, each
            over its own box, or pasted (N, H, W), 0 or 1 in uint8.
        """
        height, width = image.shape[2:]
        maps = self.model.extract_feat(self.preprocess(image))
        boxes, scores, labels = self._classify(
            maps, self._propose(maps, image), image)
        if not self.model.roi_head.with_mask:
            return boxes, scores, labels
        roi = self.model.roi_head
        extractor = roi.mask_roi_extractor
        masks = roi.mask_head(region_features(
            extractor, maps[:extractor.num_inputs], boxes))
        if not roi.mask_head.class_agnostic:
            masks = masks[torch.arange(labels.shape[0], device=labels.device), labels]
        masks = masks.flatten(0, -3).sigmoid()
        if self.paste:
            masks = paste_masks(masks, boxes, height, width)
            masks = (masks >= self.model.test_cfg.rcnn.mask_thr_binary).to(torch.uint8)
        return boxes, scores, labels, masks

    def _propose(self, maps: tuple[Tensor, ...], image: Tensor) -> Tensor:
        """Return regions (N, 4) that the second stage looks at."""
        height, width = image.shape[2:]
        rpn, cfg = self.model.rpn_head, self.model.test_cfg.rpn
        scores, priors, deltas, levels = [], [], [], []
        for i, (of_level, anchors, offsets) in enumerate(_levels(rpn, maps)):
            values, indices = best(of_level[:, 0], cfg.nms_pre)
            scores.append(values)
            levels.append(torch.full_like(indices, i))
            priors.append(anchors[indices])
            deltas.append(offsets[indices])
        scores, levels = torch.cat(scores), torch.cat(levels)
        boxes = clip_boxes(decode_boxes(
            rpn.bbox_coder, torch.cat(priors), torch.cat(deltas)), height, width)
        scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
        kept = select(boxes, scores, levels, longer_side(image), -0.5,
                      cfg.nms.iou_threshold, cfg.max_per_img)
        return boxes[kept]

    def _classify(self, maps: tuple[Tensor, ...], regions: Tensor, image: Tensor
                  ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4), scores (N,) and labels (N,)."""
        height, width = image.shape[2:]
        roi, cfg = self.model.roi_head, self.model.test_cfg.rcnn
        head, extractor = roi.bbox_head, roi.bbox_roi_extractor
        scores, deltas = head(region_features(
            extractor, maps[:extractor.num_inputs], regions))
        scores = scores.softmax(1)[:, :-1]
        classes = scores.shape[1]
        own = 1 if head.reg_class_agnostic else classes  # boxes of a region
        boxes = clip_boxes(decode_boxes(
            head.bbox_coder, regions.repeat_interleave(own, 0),
            deltas.reshape(-1, 4)), height, width)
        labels = torch.arange(classes, device=scores.device).repeat(scores.shape[0])
        if own == 1:
            boxes = boxes.repeat_interleave(classes, 0)
        scores = scores.flatten()
        kept = select(boxes, scores, labels, longer_side(image), cfg.score_thr,
                      cfg.nms.iou_threshold, cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]


def _levels(head: nn.Module, maps: tuple[Tensor, ...]
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


def _check_methods(head: nn.Module, known: type, *names: str) -> None:
    """Refuse heads that do something else than what the graph computes."""
    for name in names:
        if getattr(type(head), name) is not getattr(known, name):
            raise _refusal(type(head).__name__, f'its {name} is not '
                           f'{known.__name__}\'s, which the graph computes.')


def _check_coder(head: nn.Module) -> None:
    coder, loss = head.bbox_coder, head.loss_cls
    if (type(coder) is not DeltaXYWHBBoxCoder or coder.add_ctr_clamp
            or not coder.clip_border):
        raise _refusal(f'{type(head).__name__} with {type(coder).__name__}',
                       'only a plain DeltaXYWHBBoxCoder that clips to the border '
                       'can.')
    if getattr(loss, 'custom_cls_channels', False):
        raise _refusal(f'{type(head).__name__} with {type(loss).__name__}',
                       'only sigmoid and softmax scores can.')


def _check_extractor(extractor: nn.Module) -> None:
    layers = getattr(extractor, 'roi_layers', [])
    if type(extractor) is not SingleRoIExtractor or any(
            type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg'
            for layer in layers):
        raise _refusal(f'{type(extractor).__name__} with {layers}',
                       'only SingleRoIExtractor with RoIAlign, averaging, can.')


def _check_nms(where: str, cfg: Any) -> None:
    nms = cfg.get('nms', {})
    others = {**nms, 'type': None, 'iou_threshold': None}
    if (nms.get('type') != 'nms' or 'iou_threshold' not in nms
            or set(others.values()) != {None}):
        raise _refusal(f'{where}.nms={dict(nms)}',
                       "only dict(type='nms', iou_threshold=...) can.")
    for name in ('nms_pre', 'max_per_img') if where.endswith(
            ('test_cfg', 'rpn')) else ('max_per_img', ):
        if cfg.get(name, -1) < 1:
            raise _refusal(f'{where}.{name}={cfg.get(name)}',
                           'give a positive number.')


def _refusal(what: str, why: str) -> ArgumentError:
    return ArgumentError(f'{what} cannot be exported: {why} Or export the backbone '
                         'alone (--backbone-only), and run the heads after it.')
