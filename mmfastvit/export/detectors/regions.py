"""Two-stage detectors: regions are proposed, then classified."""
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from mmfastvit.export.preprocessing import Preprocess

from .checks import check_coder, check_extractor, check_methods, check_nms, refusal
from .post_processing import (
    best,
    decode_boxes,
    drop_small,
    longer_side,
    paste_masks,
    region_features,
    scored_priors,
    select,
)


class TwoStage(nn.Module):
    """A two-stage detector: picture in, boxes and masks out.

    Args:
        model: MMDetection's detector of an RPN and a standard RoI head; Faster
            and Mask R-CNN are.
        paste: Whether its masks are to be pictures.

    Raises:
        ArgumentError: A head does what the graph would not.
    """

    outputs = ['boxes', 'scores', 'labels']
    lowest_opset = 16  # whose RoIAlign is the first to know aligned=True

    def __init__(self, model: nn.Module, paste: bool = False):
        super().__init__()
        check_methods(model, TwoStageDetector, 'predict')
        if not model.with_rpn:
            raise refusal(type(model).__name__, 'it has no RPN of its own.')
        rpn, roi = model.rpn_head, model.roi_head
        check_methods(rpn, RPNHead, 'predict_by_feat', '_predict_by_feat_single',
                       '_bbox_post_process')
        check_methods(roi, StandardRoIHead, 'predict', 'predict_bbox',
                       '_bbox_forward', 'predict_mask', '_mask_forward')
        check_methods(roi.bbox_head, BBoxHead, 'predict_by_feat',
                       '_predict_by_feat_single')
        check_extractor(roi.bbox_roi_extractor)
        for head in (rpn, roi.bbox_head):
            check_coder(head)
        if roi.with_shared_head or roi.bbox_head.custom_cls_channels:
            raise refusal(
                f'{type(roi).__name__} with a shared head or activations of its loss',
                'only those without can.')
        if roi.with_mask:
            check_methods(roi.mask_head, FCNMaskHead, 'predict_by_feat',
                           '_predict_by_feat_single')
            check_extractor(roi.mask_roi_extractor)
            self.outputs = [*self.outputs, 'masks']
        check_nms('model.test_cfg.rpn', model.test_cfg.rpn)
        check_nms('model.test_cfg.rcnn', model.test_cfg.rcnn)
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
        for i, (of_level, anchors, offsets) in enumerate(scored_priors(rpn, maps)):
            values, indices = best(of_level[:, 0], cfg.nms_pre)
            scores.append(values)
            levels.append(torch.full_like(indices, i))
            priors.append(anchors[indices])
            deltas.append(offsets[indices])
        scores, levels = torch.cat(scores), torch.cat(levels)
        boxes = clip_boxes_to_image(decode_boxes(
            rpn.bbox_coder, torch.cat(priors), torch.cat(deltas)), (height, width))
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
        boxes = clip_boxes_to_image(decode_boxes(
            head.bbox_coder, regions.repeat_interleave(own, 0),
            deltas.reshape(-1, 4)), (height, width))
        labels = torch.arange(classes, device=scores.device).repeat(scores.shape[0])
        if own == 1:
            boxes = boxes.repeat_interleave(classes, 0)
        scores = scores.flatten()
        kept = select(boxes, scores, labels, longer_side(image), cfg.score_thr,
                      cfg.nms.iou_threshold, cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]
