"""Mask2Former: each query becomes a mask, and the mask a box."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.detectors import MaskFormer
from mmdet.models.seg_heads import MaskFormerFusionHead
from torch import Tensor, nn

from .boxes import Size
from .checks import check_methods, refusal
from .detector import Detector

STRIDE = 4  # of the masks


@dataclass(frozen=True)
class Row:
    """Which methods of a head the graph stands for, of its class."""

    methods: tuple[str, ...] = ('forward', '_forward_head', 'predict')


HEADS = {Mask2FormerHead: Row()}


class MaskQueries(Detector):
    """A detector whose ``panoptic_head`` has a row in ``HEADS``: instances alone.

    Its masks are logits over the whole picture. A score is the class's times the mean
    of the mask; since that and the box depend on how large the mask is drawn, the
    class's score comes, too, for pictures that were resized.

    Args:
        model: MMDetection's.
        known: The class of the row.
        row: The head's.
        paste: Of :class:`Detector`.
    """

    lowest_opset = 16  # the first with GridSample

    def __init__(self, model: nn.Module, known: type, row: Row, paste: bool = False):
        super().__init__(model, paste)
        head, cfg = model.panoptic_head, model.test_cfg
        check_methods(model, MaskFormer, 'predict')
        check_methods(head, known, *row.methods)
        check_methods(model.panoptic_fusion_head, MaskFormerFusionHead, 'predict',
                      'instance_postprocess')
        if (cfg.get('panoptic_on', True) or not cfg.get('instance_on', False)
                or model.num_stuff_classes):
            raise refusal(
                f'{type(model).__name__} of {model.num_stuff_classes} classes of stuff '
                f'and test_cfg={dict(cfg)}', 'only instances can: no stuff, '
                'panoptic_on=False, instance_on=True.')
        self.most = cfg.get('max_per_image', 100)
        self.outputs = [*self.outputs, 'masks'] + ['class_scores'] * (not paste)
        self.settings = dict(score_threshold=0., max_detections=self.most,
                             mask_threshold=0.5, mask_stride=STRIDE,
                             masks='pasted' if paste else 'queries')

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor, Size]:
        """Return logits (B, Q, classes + 1), masks (B, Q, h, w), the padded size."""
        x = self.preprocess(image)
        logits, masks = self.model.panoptic_head(self.model.extract_feat(x), None)
        return logits[-1], masks[-1], x.shape[2:]

    def candidates(self, said: tuple[Tensor, Tensor, Size], size: Size
                   ) -> tuple[Tensor, Tensor, Tensor, Size]:
        """Return scores (B, K), labels (B, K), masks (B, K, h, w), the padded size."""
        logits, masks, padded = said
        classes = logits.shape[2] - 1
        scores = logits.softmax(2)[..., :-1].flatten(1)
        scores, indices = scores.topk(self.most, 1)
        places = (indices // classes)[..., None, None]
        masks = masks.gather(1, places.expand(-1, -1, *masks.shape[2:]))
        return scores, indices % classes, masks, padded

    def select(self, candidates: tuple[Tensor, Tensor, Tensor, Size], size: Size
               ) -> tuple[Tensor, ...]:
        class_scores, labels, masks, padded = candidates
        drawn = F.interpolate(masks, padded, mode='bilinear', align_corners=False)
        drawn = drawn[..., :size[0], :size[1]]
        inside = drawn > 0
        weights = inside.to(drawn.dtype)
        scores = class_scores * (drawn.sigmoid() * weights).sum((2, 3)) / (
            weights.sum((2, 3)) + 1e-6)
        scores, order = scores.sort(1, descending=True)
        rest = [inside.to(torch.uint8)] if self.paste else [masks, class_scores]
        rest = (_boxes(inside), labels, *rest)
        boxes, labels, *rest = (_take(x, order) for x in rest)
        return torch.full_like(labels[:, 0], self.most), boxes, scores, labels, *rest


def _take(values: Tensor, order: Tensor) -> Tensor:
    """Return values (B, K, ...) in another order (B, K)."""
    order = order.reshape(*order.shape, *[1] * (values.dim() - 2))
    return values.gather(1, order.expand(values.shape))


def _boxes(masks: Tensor) -> Tensor:
    """Return boxes (B, K, 4) around masks (B, K, H, W) bool; 0 around none."""
    ends = []
    for covered in (masks.any(2), masks.any(3)):  # columns, rows
        places = torch.arange(covered.shape[2], device=masks.device)
        ends.append((torch.where(covered, places, covered.shape[2]).amin(2),
                     torch.where(covered, places + 1, 0).amax(2)))
    (left, right), (top, bottom) = ends
    boxes = torch.stack([left, top, right, bottom], 2)
    return torch.where((right > 0)[..., None], boxes, 0).to(torch.float32)
