"""RTMDet-Ins: each object brings the convolutions that draw its mask."""
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import RTMDetInsHead
from torch import Tensor, nn

from .boxes import Size, rows, take
from .dense import Row, SingleStage
from .detector import padded
from .selection import Candidates

HEADS = {RTMDetInsHead: Row('kernel_preds', own=(
    'predict_by_feat', '_predict_by_feat_single', '_bbox_mask_post_process',
    '_mask_predict_by_feat_single', 'parse_dynamic_params'), numbers=None)}


class DynamicMasks(SingleStage):
    """A detector whose ``bbox_head`` has a row in ``HEADS`` of this module.

    Its masks are logits over the whole picture, at the stride of the largest map.
    """

    def __init__(self, model: nn.Module, known: type, row: Row, paste: bool = False):
        super().__init__(model, known, row, paste)
        self.outputs = [*self.outputs, 'masks']
        self.stride = model.bbox_head.prior_generator.strides[0][0]
        self.settings |= dict(mask_threshold=model.test_cfg.mask_thr_binary,
                              masks='pasted' if paste else 'logits',
                              mask_stride=self.stride)

    def belongings(self, said: Any, level: int, priors: Tensor, places: Tensor
                   ) -> tuple[Tensor, ...]:
        """Return kernels (B, K, numbers), centres (B, K, 2), strides (B, K, 1)."""
        head, centres = self.model.bbox_head, priors[places]
        kernels = take(rows(said[2][level], head.num_gen_params), places)
        stride = head.prior_generator.strides[level][0]
        return kernels, centres, torch.full_like(centres[..., :1], stride)

    def candidates(self, said: Any, size: Size) -> tuple[Candidates, Any]:
        candidates, others = super().candidates(said, size)
        return candidates, (*(x.flatten(0, 1) for x in others), said[3])

    def select(self, candidates: tuple[Candidates, Any], size: Size
               ) -> tuple[Tensor, ...]:
        candidates, (kernels, centres, strides, maps) = candidates
        objects = self.choose(candidates, size)
        chosen = objects.indices
        masks = self._masks(kernels[chosen], centres[chosen], strides[chosen],
                            maps[objects.pictures])
        if self.paste:
            masks = F.interpolate(masks[:, None], scale_factor=self.stride,
                                  mode='bilinear')[:, 0, :size[0], :size[1]]
            masks = masks.sigmoid() > self.model.test_cfg.mask_thr_binary
            masks = masks.to(torch.uint8)
        return *padded(objects, candidates), objects.padded(masks)

    def _masks(self, kernels: Tensor, centres: Tensor, strides: Tensor, maps: Tensor
               ) -> Tensor:
        """Return logits (N, H, W) of masks.

        Args:
            kernels: (N, numbers), of as many 1x1 convolutions as the head says.
            centres: (N, 2), in pixels.
            strides: (N, 1), of the map that an object was found in.
            maps: (N, C, H, W), of the picture that an object is in.
        """
        head = self.model.bbox_head
        count, height, width = maps.shape[0], maps.shape[2], maps.shape[3]
        places = head.prior_generator.single_level_grid_priors(
            (height, width), level_idx=0, device=maps.device)  # (H * W, 2)
        away = (centres[:, None] - places) / (strides[:, None] * 8)
        x = torch.cat([away.transpose(1, 2), maps.flatten(2)], 1)
        numbers = kernels.split([*head.weight_nums, *head.bias_nums], 1)
        layers = len(head.weight_nums)
        for i, (weight, bias) in enumerate(zip(numbers[:layers], numbers[layers:])):
            channels = 1 if i == layers - 1 else head.dyconv_channels
            weight = weight.reshape(count, channels, x.shape[1])
            x = torch.baddbmm(bias[:, :, None], weight, x)
            x = x.relu() if i < layers - 1 else x
        return x.reshape(count, height, width)
