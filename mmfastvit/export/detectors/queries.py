"""Detectors whose queries each become an object: no suppression follows."""
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmdet.models.dense_heads import DeformableDETRHead, DETRHead, DINOHead
from mmdet.models.detectors import DINO, DeformableDETR
from mmdet.models.detectors.base_detr import DetectionTransformer
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image

from mmfastvit.export.deformable import Sizes
from mmfastvit.export.substitutions import functions_that_export

from .boxes import Size, take
from .checks import check_methods, refusal
from .detector import Detector

SIDE = 512  # of a picture that tells the strides of maps


def _decode(model: nn.Module, queries: dict[str, Any]) -> dict[str, Any]:
    return model.forward_decoder(**queries)


def _decode_dino(model: nn.Module, queries: dict[str, Any]) -> dict[str, Any]:
    """DINO's own ``forward_decoder`` asks how many pictures there are, for good."""
    queries = {key: value for key, value in queries.items() if key != 'dn_mask'}
    states, references = model.decoder(
        query=queries.pop('query'), value=queries.pop('memory'),
        key_padding_mask=queries.pop('memory_mask'), self_attn_mask=None,
        reg_branches=model.bbox_head.reg_branches, **queries)
    return dict(hidden_states=states, references=list(references))


@dataclass(frozen=True)
class Row:
    """A head and the detector that it belongs to.

    Attributes:
        detector: Whose methods the graph stands for.
        decode: Its decoder.
    """

    detector: type
    decode: Callable[[nn.Module, dict[str, Any]], dict[str, Any]] = _decode


HEADS = {DeformableDETRHead: Row(DeformableDETR), DINOHead: Row(DINO, _decode_dino)}


class Queries(Detector):
    """A detector whose ``bbox_head`` has a row in ``HEADS``.

    Args:
        model: MMDetection's.
        known: The class of the row.
        row: The head's.
        paste: Of :class:`Detector`.
    """

    lowest_opset = 16  # the first with GridSample
    has_network = True

    def __init__(self, model: nn.Module, known: type, row: Row, paste: bool = False):
        super().__init__(model, paste)
        head = model.bbox_head
        check_methods(model, DetectionTransformer, 'predict')
        check_methods(model, row.detector, 'forward_transformer', 'pre_transformer',
                      'forward_encoder', 'pre_decoder', 'forward_decoder',
                      'gen_encoder_output_proposals')
        check_methods(head, known, 'forward', 'predict', 'predict_by_feat')
        check_methods(head, DETRHead, '_predict_by_feat_single')
        if self.preprocess.divisor > 1:
            raise refusal(
                f'data_preprocessor.pad_size_divisor={self.preprocess.divisor}',
                f'{type(model).__name__} would look at the margin; set 1.')
        self.row = row
        # Theirs use linspace, which makes sizes constants.
        model.encoder.get_encoder_reference_points = _reference_points
        model.gen_encoder_output_proposals = partial(_proposals, model)
        self.most = model.test_cfg.get('max_per_img', model.num_queries)
        self.settings = dict(score_threshold=0., max_detections=self.most)
        if model.as_two_stage:
            with torch.no_grad():
                maps = model.extract_feat(torch.zeros(1, 3, SIDE, SIDE))
            strides = [SIDE // x.shape[3] for x in maps]
            self.settings['positions'] = dict(least=model.num_queries, strides=strides)

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, Q, classes) and boxes (B, Q, 4) of queries."""
        model = self.model
        maps = model.extract_feat(self.preprocess(image))
        encoder, decoder = _flatten(model, maps)
        with functions_that_export():
            queries, _ = model.pre_decoder(**model.forward_encoder(**encoder))
            said = self.row.decode(model, {**decoder, **queries})
            logits, boxes = model.bbox_head(**said)
        return logits[-1], boxes[-1]

    def candidates(self, said: tuple[Tensor, Tensor], size: Size
                   ) -> tuple[Tensor, ...]:
        """Return boxes (B, K, 4), scores (B, K) and labels (B, K), the best first."""
        logits, boxes = said
        if self.model.bbox_head.loss_cls.use_sigmoid:
            scores, indices = logits.sigmoid().flatten(1).topk(self.most, 1)
            places, labels = indices // logits.shape[2], indices % logits.shape[2]
        else:
            scores, labels = logits.softmax(2)[..., :-1].max(2)
            scores, places = scores.topk(self.most, 1)
            labels = labels.gather(1, places)
        height, width = size
        boxes = box_convert(take(boxes, places), 'cxcywh', 'xyxy')
        boxes = torch.stack([boxes[..., 0] * width, boxes[..., 1] * height,
                             boxes[..., 2] * width, boxes[..., 3] * height], 2)
        return clip_boxes_to_image(boxes, size), scores, labels

    def select(self, candidates: tuple[Tensor, ...], size: Size) -> tuple[Tensor, ...]:
        scores = candidates[1]
        return torch.full_like(scores[:, 0], self.most, dtype=torch.int64), *candidates


def _centres(size: Size, like: Tensor) -> Tensor:
    """Return the centres (H * W, 2) of a map's places, 0 to 1."""
    height, width = size
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
    return torch.stack([x[None].expand(height, width), y[:, None].expand(
        height, width)], 2).flatten(0, 1)


def _reference_points(spatial_shapes: Sizes, valid_ratios: Tensor, device: Any
                      ) -> Tensor:
    """Return where the encoder's queries look, (B, N, levels, 2), 0 to 1."""
    batch, levels = valid_ratios.shape[:2]
    points = torch.cat([_centres(size, valid_ratios) for size in spatial_shapes])
    return points[None, :, None].expand(batch, points.shape[0], levels, 2)


def _proposals(model: nn.Module, memory: Tensor, memory_mask: None,
               spatial_shapes: Sizes) -> tuple[Tensor, Tensor]:
    """Return memory (B, N, C) and boxes (B, N, 4), as logits, of two-stage queries."""
    boxes = []
    for i, size in enumerate(spatial_shapes):
        centres = _centres(size, memory)
        boxes.append(torch.cat([centres, torch.full_like(centres, 0.05 * 2**i)], 1))
    boxes = torch.cat(boxes)
    inside = ((boxes > 0.01) & (boxes < 0.99)).all(1)[:, None]
    boxes = (boxes / (1 - boxes)).log().masked_fill(~inside, float('inf'))
    memory = model.memory_trans_norm(model.memory_trans_fc(
        memory.masked_fill(~inside, 0.)))
    return memory, boxes.expand(memory.shape[0], *boxes.shape)


def _flatten(model: nn.Module, maps: tuple[Tensor, ...]
             ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what encoder and decoder take of maps (B, C, H, W) without margins."""
    sizes, batch = [x.shape[2:] for x in maps], maps[0].shape[0]
    tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)
    positions = torch.cat([
        model.positional_encoding(None, input=x).flatten(2).transpose(1, 2)
        + model.level_embed[i] for i, x in enumerate(maps)], 1)
    shared = dict(spatial_shapes=sizes, level_start_index=None,
                  valid_ratios=tokens.new_ones(batch, len(maps), 2))
    return (dict(feat=tokens, feat_mask=None, feat_pos=positions, **shared),
            dict(memory_mask=None, **shared))
