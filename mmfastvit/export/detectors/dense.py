"""Single-stage detectors: every place of every map says what is there."""
from inspect import signature

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from mmfastvit.export.preprocessing import Preprocess

from .checks import check_coder, check_methods, check_nms, refusal
from .post_processing import (
    best,
    decode_boxes,
    drop_small,
    longer_side,
    scored_priors,
    select,
)


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
        check_methods(model, SingleStageDetector, 'predict')
        check_methods(head, BaseDenseHead, 'predict_by_feat',
                       '_predict_by_feat_single', '_bbox_post_process')
        given = list(signature(head.loss_by_feat).parameters)
        if given[:3] != ['cls_scores', 'bbox_preds', 'batch_gt_instances']:
            raise refusal(type(head).__name__, f'it also gives {given[2]}; only '
                           'scores and boxes are known.')
        check_coder(head)
        check_nms('model.test_cfg', model.test_cfg)
        if model.test_cfg.get('min_bbox_size', -1) > 0:
            raise refusal('model.test_cfg.min_bbox_size > 0', 'it counts pixels of '
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
        for of_level, anchors, offsets in scored_priors(head, maps):
            values, indices = best(of_level.flatten(), cfg.nms_pre)
            place = indices // of_level.shape[1]
            scores.append(values)
            labels.append(indices % of_level.shape[1])
            priors.append(anchors[place])
            deltas.append(offsets[place])
        scores, labels = torch.cat(scores), torch.cat(labels)
        boxes = clip_boxes_to_image(decode_boxes(
            head.bbox_coder, torch.cat(priors), torch.cat(deltas)), (height, width))
        scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
        kept = select(boxes, scores, labels, longer_side(image),
                      cfg.get('score_thr', 0), cfg.nms.iou_threshold,
                      cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]
