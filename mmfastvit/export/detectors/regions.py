"""Two-stage detectors: regions are proposed, then classified, once or several times."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor, nn
from torchvision.ops import roi_align

from .boxes import Size, check_coder, decode, drop_small, extent_of, rows, take
from .checks import check_extractor, check_methods, check_nms, check_scores, refusal
from .detector import Detector, padded
from .masks import paste_masks
from .selection import Candidates, best, check_few, select


@dataclass(frozen=True)
class Row:
    """Which methods of a RoI head the graph stands for, of its class."""

    methods: tuple[str, ...] = ('predict', 'predict_bbox', '_bbox_forward',
                                'predict_mask', '_mask_forward')


# One stage is a cascade of one.
HEADS = {StandardRoIHead: Row(),
         CascadeRoIHead: Row((*Row.methods, '_refine_roi'))}


@dataclass
class Regions:
    """Where the second stage looks, of all pictures in one list.

    Attributes:
        boxes: (N, 4), in pixels.
        pictures: (N,), the picture of each.
        batch: How many pictures there are.
        maps: Of the neck, (B, C, H, W) each, the largest first.
    """

    boxes: Tensor
    pictures: Tensor
    batch: int
    maps: Sequence[Tensor]


class TwoStage(Detector):
    """A detector of an RPN and a RoI head that has a row in ``HEADS``.

    Args:
        model: MMDetection's.
        known: The class of the row.
        row: The RoI head's.
        paste: Of :class:`Detector`.
    """

    lowest_opset = 16  # whose RoIAlign is the first to know aligned=True

    def __init__(self, model: nn.Module, known: type, row: Row, paste: bool = False):
        super().__init__(model, paste)
        check_methods(model, TwoStageDetector, 'predict')
        if not model.with_rpn:
            raise refusal(type(model).__name__, 'it has no RPN of its own.')
        rpn, roi, cfg = model.rpn_head, model.roi_head, model.test_cfg
        check_methods(rpn, RPNHead, 'predict_by_feat', '_predict_by_feat_single',
                      '_bbox_post_process')
        check_methods(roi, known, *row.methods)
        self.stages = list(zip(_each(roi.bbox_roi_extractor), _each(roi.bbox_head)))
        for extractor, head in self.stages:
            check_methods(head, BBoxHead, 'predict_by_feat', '_predict_by_feat_single',
                          'regress_by_class')
            check_extractor(extractor)
        for head in (rpn, *_each(roi.bbox_head)):
            check_coder(head)
            check_scores(head)
        if roi.with_shared_head:
            raise refusal(f'{type(roi).__name__} with a shared head',
                          'only those without can.')
        check_nms('model.test_cfg.rpn', cfg.rpn, 'nms_pre', 'max_per_img')
        check_nms('model.test_cfg.rcnn', cfg.rcnn, 'max_per_img')
        self.settings = dict(
            score_threshold=cfg.rcnn.get('score_thr', 0.),
            iou_threshold=cfg.rcnn.nms.iou_threshold,
            max_detections=cfg.rcnn.max_per_img)
        self.mask_stages = []
        if roi.with_mask:
            self.mask_stages = list(zip(_each(roi.mask_roi_extractor),
                                        _each(roi.mask_head)))
            for extractor, head in self.mask_stages:
                check_methods(head, FCNMaskHead, 'predict_by_feat',
                              '_predict_by_feat_single')
                check_extractor(extractor)
            self.outputs = [*self.outputs, 'masks']
            self.settings |= dict(mask_threshold=cfg.rcnn.mask_thr_binary,
                                  masks='pasted' if paste else 'boxes')

    def heads(self, image: Tensor) -> tuple[Sequence[Tensor], Any]:
        """Return the neck's maps, and what the RPN says of them."""
        maps = self.model.extract_feat(self.preprocess(image))
        return maps, self.model.rpn_head(maps)

    def candidates(self, said: tuple[Sequence[Tensor], Any], size: Size
                   ) -> tuple[Candidates, Sequence[Tensor]]:
        """Return boxes of the last stage, and the neck's maps, for the masks."""
        maps, proposals = said
        regions = self._propose(maps, proposals, size)
        scores = []
        for extractor, head in self.stages:
            logits, deltas = head(region_features(extractor, regions))
            scores.append(logits)
            if len(scores) < len(self.stages):
                if not head.reg_class_agnostic:
                    labels = logits[:, :-1].argmax(1)
                    deltas = deltas.reshape(labels.shape[0], -1, 4)
                    deltas = take(deltas, labels[:, None])[:, 0]
                regions = Regions(decode(head.bbox_coder, regions.boxes, deltas, size),
                                  regions.pictures, regions.batch, maps)
        return self._classify(regions, sum(scores) / len(scores), deltas, size), maps

    def _propose(self, maps: Sequence[Tensor], said: Any, size: Size) -> Regions:
        """Return the regions that the second stage looks at."""
        rpn, cfg = self.model.rpn_head, self.model.test_cfg.rpn
        priors_by_level = rpn.prior_generator.grid_priors(
            [x.shape[2:] for x in said[0]], dtype=maps[0].dtype, device=maps[0].device)
        found = []
        for i, (logits, deltas) in enumerate(zip(*said)):
            logits = rows(logits, rpn.cls_out_channels)
            scores = logits.sigmoid() if rpn.use_sigmoid_cls \
                else logits.softmax(2)[..., :-1]
            scores, places = best(scores[..., 0], cfg.nms_pre)
            boxes = decode(rpn.bbox_coder, priors_by_level[i][places],
                           take(rows(deltas, 4), places), size)
            scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
            found.append((boxes, scores, torch.full_like(places, i)))
        candidates = Candidates.of_pictures(*(torch.cat(x, 1) for x in zip(*found)))
        extent = extent_of(candidates.boxes, size, rpn.bbox_coder.clip_border)
        chosen = select(candidates, extent, cfg.nms, cfg.max_per_img)
        return Regions(candidates.boxes[chosen.indices], chosen.pictures,
                       candidates.batch, maps)

    def _classify(self, regions: Regions, logits: Tensor, deltas: Tensor, size: Size
                  ) -> Candidates:
        """Return a box for each region and class.

        Args:
            regions: N.
            logits: (N, classes + 1).
            deltas: (N, 4), or (N, classes * 4).
            size: Of the pictures.
        """
        cfg, head = self.model.test_cfg.rcnn, self.stages[-1][1]
        scores = logits.softmax(1)[:, :-1]
        count, classes = scores.shape
        own = 1 if head.reg_class_agnostic else classes  # boxes of a region
        boxes = decode(head.bbox_coder, regions.boxes[:, None],
                       deltas.reshape(count, own, 4), size)
        boxes = boxes.expand(count, classes, 4).flatten(0, 1)
        labels = torch.arange(classes, device=scores.device)
        scores = torch.where(scores > cfg.score_thr, scores, -1.)
        return Candidates(
            boxes, scores.flatten(), labels.expand(count, classes).flatten(),
            regions.pictures[:, None].expand(count, classes).flatten(), regions.batch)

    def select(self, candidates: tuple[Candidates, Sequence[Tensor]], size: Size
               ) -> tuple[Tensor, ...]:
        candidates, maps = candidates
        cfg = self.model.test_cfg.rcnn
        extent = extent_of(candidates.boxes, size,
                           self.stages[-1][1].bbox_coder.clip_border)
        objects = select(candidates, extent, cfg.nms, cfg.max_per_img)
        found = padded(objects, candidates)
        if not self.mask_stages:
            return found
        boxes = candidates.boxes[objects.indices]
        regions = Regions(boxes, objects.pictures, candidates.batch, maps)
        masks = self._masks(regions, candidates.labels[objects.indices])
        if self.paste:
            masks = paste_masks(masks, boxes, *size)
            masks = (masks >= cfg.mask_thr_binary).to(torch.uint8)
        return *found, objects.padded(masks)

    def _masks(self, regions: Regions, labels: Tensor) -> Tensor:
        """Return masks (N, h, w), 0 to 1, each over its own box."""
        found = []
        for extractor, head in self.mask_stages:
            masks = head(region_features(extractor, regions))
            if not head.class_agnostic:
                masks = masks[torch.arange(labels.shape[0], device=labels.device),
                              labels][:, None]
            found.append(masks[:, 0].sigmoid())
        return sum(found) / len(found)


def region_features(extractor: nn.Module, regions: Regions) -> Tensor:
    """Return the features (N, C, h, w) of regions, each from the map of its size.

    What ``SingleRoIExtractor`` computes.
    """
    boxes, maps = regions.boxes, regions.maps[:extractor.num_inputs]
    sides = boxes[:, 2:] - boxes[:, :2]
    level = (sides.prod(1).sqrt() / extractor.finest_scale + 1e-6).log2().floor()
    level = level.clamp(0, len(maps) - 1)
    places = torch.cat([regions.pictures[:, None].to(boxes.dtype), boxes], 1)
    features, order = [], []
    for i, (x, layer) in enumerate(zip(maps, extractor.roi_layers)):
        own = (level == i).nonzero()[:, 0]
        check_few(own.shape[0])
        features.append(roi_align(
            x, places[own], layer.output_size, layer.spatial_scale,
            layer.sampling_ratio, layer.aligned))
        order.append(own)
    return torch.cat(features)[torch.cat(order).argsort()]


def _each(modules: nn.Module) -> list[nn.Module]:
    """Return the modules of a list, or the one."""
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]
