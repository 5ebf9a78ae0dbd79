"""Single-stage detectors: every place of every map says what is there."""
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from mmdet.models.dense_heads import (
    AnchorHead,
    ATSSHead,
    FCOSHead,
    GFLHead,
    RTMDetHead,
    TOODHead,
    VFNetHead,
    YOLOXHead,
)
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from .boxes import (
    NAMES,
    Size,
    check_coder,
    decode,
    drop_small,
    extent_of,
    rows,
    take,
)
from .checks import check_methods, check_nms, check_scores, refusal
from .detector import Detector, padded
from .selection import Candidates, Objects, best, select

METHODS = ('predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')


def _activated(head: nn.Module, logits: Tensor) -> Tensor:
    """Return scores (B, N, classes) of logits (B, N, channels)."""
    return logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(2)[..., :-1]


def _decoded(head: nn.Module, priors: Tensor, numbers: Tensor, size: Size, stride: int
             ) -> Tensor:
    """Return boxes (B, N, 4) of priors (B, N, 2 or 4) and a head's numbers."""
    return decode(head.bbox_coder, priors, numbers, size)


def _integrated(head: nn.Module, priors: Tensor, numbers: Tensor, size: Size,
                stride: int) -> Tensor:
    """GFL: each distance is the mean of a distribution (equation 4)."""
    numbers = numbers.reshape(*numbers.shape[:2], 4, -1).softmax(3)
    # A product with a vector, and then with the stride, is more than OpenVINO fuses.
    distances = (numbers * head.integral.project).sum(3) * stride
    centres = (priors[..., :2] + priors[..., 2:]) / 2
    return decode(head.bbox_coder, centres, distances, size)


def _ready(head: nn.Module, priors: Tensor, numbers: Tensor, size: Size, stride: int
           ) -> Tensor:
    """TOOD: its forward pass decodes, in units of the stride."""
    return numbers * stride


def _sample(feat: Tensor, offset: Tensor) -> Tensor:
    """TOOD: its maps (B, C, H, W) at other places, by torchvision, not by mmcv."""
    channels = feat.shape[1]
    return deform_conv2d(feat, offset, feat.new_ones(channels, 1, 1, 1))


def _prepare_tood(head: nn.Module) -> None:
    head.deform_sampling = _sample


def _of_centres(head: nn.Module, priors: Tensor, numbers: Tensor, size: Size,
                stride: int) -> Tensor:
    """YOLOX: centres and sides, in units of the stride."""
    centres = numbers[..., :2] * stride + priors[..., :2]
    halves = numbers[..., 2:].exp() * stride / 2
    return torch.cat([centres - halves, centres + halves], 2)


def _each_class(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, places and labels (B, count): a place may be several classes."""
    classes = scores.shape[2]
    scores, indices = best(scores.flatten(1), count)
    return scores, indices // classes, indices % classes


def _best_class(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, places and labels (B, N): each place is of one class."""
    scores, labels = scores.max(2)
    places = torch.arange(scores.shape[1], device=scores.device)
    return scores, places.expand(scores.shape), labels


@dataclass(frozen=True)
class Row:
    """How what a head says is read.

    Attributes:
        third: What its ``loss_by_feat`` takes third, after scores and boxes.
        factor: Whether that is a factor of the scores, ``'after'`` the threshold or
            ``'before'`` it.
        own: Methods of its own; others of ``METHODS`` are ``BaseDenseHead``'s.
        scores: From logits to scores.
        boxes: From priors and numbers to boxes.
        pick: Which scores go on.
        clips: Whether boxes are cut to the picture where the coder says so.
        reaches: How a score compares with the threshold.
        prepare: Changes the copy of a head that is exported.
        batch: How many pictures its graph takes; None takes any.
        lowest_opset: Of ONNX, that has all of its operators.
        numbers: What the runtime calls ``boxes``, which decodes for phones and boards;
            ``'coder'`` asks the head's, None has nothing there.
    """

    third: str = 'batch_gt_instances'
    factor: str = ''
    own: tuple[str, ...] = ()
    scores: Callable[..., Tensor] = _activated
    boxes: Callable[..., Tensor] = _decoded
    pick: Callable[..., tuple[Tensor, Tensor, Tensor]] = _each_class
    clips: bool = True
    reaches: Callable[..., Tensor] = torch.gt
    prepare: Callable[[nn.Module], None] = lambda head: None
    batch: int | None = None
    lowest_opset: int = 11
    numbers: str | None = 'coder'


HEADS = {
    AnchorHead: Row(),
    FCOSHead: Row('centernesses', 'after'),
    ATSSHead: Row('centernesses', 'after'),
    GFLHead: Row(own=('_predict_by_feat_single', ), boxes=_integrated, numbers='bins'),
    RTMDetHead: Row(),
    VFNetHead: Row('bbox_preds_refine', lowest_opset=19, numbers=None),
    TOODHead: Row(own=('_predict_by_feat_single', ), boxes=_ready, clips=False,
                  scores=lambda head, scores: scores, prepare=_prepare_tood,
                  lowest_opset=19, numbers=None,
                  batch=1),  # its forward pass counts pictures, for good
    YOLOXHead: Row('objectnesses', 'before', ('predict_by_feat', '_bbox_post_process'),
                   scores=lambda head, logits: logits.sigmoid(), boxes=_of_centres,
                   pick=_best_class, clips=False, reaches=torch.ge,
                   numbers='centres')}


class SingleStage(Detector):
    """A detector whose ``bbox_head`` has a row in ``HEADS``.

    Args:
        model: MMDetection's.
        known: The class of the row.
        row: The head's.
        paste: Of :class:`Detector`.
    """

    def __init__(self, model: nn.Module, known: type, row: Row, paste: bool = False):
        super().__init__(model, paste)
        head, cfg = model.bbox_head, model.test_cfg
        check_methods(model, SingleStageDetector, 'predict')
        check_methods(head, known, *row.own)
        check_methods(head, BaseDenseHead, *(set(METHODS) - set(row.own)))
        given = list(signature(head.loss_by_feat).parameters)
        if given[:3] != ['cls_scores', 'bbox_preds', row.third]:
            raise refusal(type(head).__name__, f'it also gives {given[2]}; only '
                          'scores and boxes are known.')
        check_scores(head)
        if row.clips:
            check_coder(head)
        check_nms('model.test_cfg', cfg)
        self.row, self.batch = row, row.batch
        self.lowest_opset = row.lowest_opset
        row.prepare(head)
        self.settings = dict(
            score_threshold=cfg.get('score_thr', 0.),
            iou_threshold=cfg.nms.iou_threshold,
            max_detections=cfg.get('max_per_img'))

    def heads(self, image: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        return self.model.bbox_head(self.model.extract_feat(self.preprocess(image)))

    @property
    def has_network(self) -> bool:
        return self.row.numbers is not None

    @property
    def network_outputs(self) -> list[str]:
        maps = ['scores', 'boxes', *(['factors'] if self.row.factor else [])]
        levels = range(len(self.model.bbox_head.prior_generator.strides))
        return [f'{name}{i}' for name in maps for i in levels]

    def network(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return ``network_outputs``, maps (B, C, h, w) before any activation."""
        maps = self.heads(image)[:3 if self.row.factor else 2]
        return tuple(x for levels in maps for x in levels)

    def describe_heads(self) -> dict[str, Any]:
        """Return how the runtime reads ``network_outputs``, of JSON's types."""
        head, cfg, row = self.model.bbox_head, self.model.test_cfg, self.row
        coder, generator = getattr(head, 'bbox_coder', None), head.prior_generator
        first = generator.grid_priors([(1, 1)] * len(generator.strides), device='cpu')
        best_class = row.pick is _best_class
        return dict(
            strides=[list(stride) for stride in generator.strides],
            priors=[(own if own.shape[1] == 4 else own.repeat(1, 2)).tolist()
                    for own in first],
            activation='sigmoid' if getattr(head, 'use_sigmoid_cls', True) else
            'softmax',
            numbers=NAMES[type(coder)] if row.numbers == 'coder' else row.numbers,
            means=list(getattr(coder, 'means', [0.] * 4)),
            stds=list(getattr(coder, 'stds', [1.] * 4)),
            bins=head.integral.project.tolist() if row.numbers == 'bins' else [],
            clip=bool(row.clips and coder.clip_border), factor=row.factor,
            best_class=best_class, at_threshold=row.reaches is torch.ge,
            score_threshold=cfg.get('score_thr', 0.),
            nms_pre=0 if best_class else max(cfg.get('nms_pre', 0), 0),
            least_side=max(cfg.get('min_bbox_size', -1), -1),
            iou_threshold=cfg.nms.iou_threshold,
            class_agnostic=bool(cfg.nms.get('class_agnostic')),
            max_detections=cfg.get('max_per_img'))

    def candidates(self, said: tuple[tuple[Tensor, ...], ...], size: Size
                   ) -> tuple[Candidates, Any]:
        """Return candidates, of each map as many, and what else belongs to them.

        Args:
            said: Of each map scores, boxes and perhaps a third.
            size: Height and width of the pictures.
        """
        head, cfg, row = self.model.bbox_head, self.model.test_cfg, self.row
        priors_by_level = head.prior_generator.grid_priors(
            [x.shape[2:] for x in said[0]], dtype=said[0][0].dtype,
            device=said[0][0].device)
        found = []
        for i, (logits, numbers) in enumerate(zip(*said[:2])):
            stride = head.prior_generator.strides[i][0]
            scores = row.scores(head, rows(logits, head.cls_out_channels))
            factor = rows(said[2][i], 1).sigmoid() if row.factor else None
            if row.factor == 'before':
                scores = scores * factor
            scores, places, labels = row.pick(scores, cfg.get('nms_pre', -1))
            reach = row.reaches(scores, cfg.get('score_thr', 0))
            if row.factor == 'after':
                scores = scores * take(factor, places)[..., 0]
            width = numbers.shape[1] * head.cls_out_channels // logits.shape[1]
            boxes = row.boxes(head, priors_by_level[i][places],
                              take(rows(numbers, width), places), size, stride)
            scores = drop_small(boxes, torch.where(reach, scores, -1.),
                                cfg.get('min_bbox_size', -1))
            found.append((boxes, scores, labels,
                          *self.belongings(said, i, priors_by_level[i], places)))
        boxes, scores, labels, *others = (torch.cat(x, 1) for x in zip(*found))
        return Candidates.of_pictures(boxes, scores, labels), others

    def belongings(self, said: Any, level: int, priors: Tensor, places: Tensor
                   ) -> tuple[Tensor, ...]:
        """Return what else belongs to candidates, (B, K, C) each; here nothing."""
        return ()

    def select(self, candidates: tuple[Candidates, Any], size: Size
               ) -> tuple[Tensor, ...]:
        return padded(self.choose(candidates[0], size), candidates[0])

    def choose(self, candidates: Candidates, size: Size) -> Objects:
        """Return the objects among candidates."""
        cfg = self.model.test_cfg
        coder = getattr(self.model.bbox_head, 'bbox_coder', None)
        extent = extent_of(candidates.boxes, size,
                           self.row.clips and coder.clip_border)
        return select(candidates, extent, cfg.nms, cfg.get('max_per_img'))
