"""A small detector of each head that is exported, on a small FastViT.

Heads and settings are MMDetection's own configs'; only widths, depths and counts are
less, so that an export takes seconds.
"""
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from helpers import randomize
from mmfastvit import reparameterize
from mmfastvit_runtime import Arrays
from mmfastvit_runtime.engines import Engine

ARCH = dict(depths=(1, 1, 1, 1), embed_dims=(8, 16, 32, 64), mlp_ratio=2,
            token_mixers=('repmixer', ) * 3 + ('attention', ))
WIDTH = 32
DENSE = dict(neck=dict(in_channels=[8, 16, 32, 64], out_channels=WIDTH),
             bbox_head=dict(num_classes=5, in_channels=WIDTH, feat_channels=WIDTH,
                            stacked_convs=1),
             test_cfg=dict(nms_pre=100, max_per_img=20))
RTMDET = dict(backbone=dict(out_indices=(1, 2, 3)),
              neck=dict(in_channels=[16, 32, 64], out_channels=WIDTH,
                        num_csp_blocks=1),
              bbox_head=dict(num_classes=5, in_channels=WIDTH, feat_channels=WIDTH,
                             stacked_convs=1),
              test_cfg=dict(nms_pre=100, max_per_img=20))
ROI_BOX = dict(num_classes=5, in_channels=WIDTH, fc_out_channels=64)
ROI_MASK = dict(num_classes=5, in_channels=WIDTH, conv_out_channels=WIDTH, num_convs=1)


def _regions(stages: int = 0, masks: bool = False) -> dict:
    box = [ROI_BOX] * stages if stages else ROI_BOX
    roi = dict(bbox_roi_extractor=dict(out_channels=WIDTH), bbox_head=box)
    if masks:
        roi |= dict(mask_roi_extractor=dict(out_channels=WIDTH), mask_head=ROI_MASK)
    return dict(neck=dict(in_channels=[8, 16, 32, 64], out_channels=WIDTH),
                rpn_head=dict(in_channels=WIDTH, feat_channels=WIDTH), roi_head=roi,
                test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=30),
                              rcnn=dict(max_per_img=20)))


def _queries(width: int = WIDTH) -> dict:
    attention = dict(embed_dims=width)
    ffn = dict(embed_dims=width, feedforward_channels=64)
    return dict(
        backbone=dict(out_indices=(1, 2, 3)),
        neck=dict(in_channels=[16, 32, 64], out_channels=width,
                  norm_cfg=dict(type='GN', num_groups=8)),
        encoder=dict(num_layers=1, layer_cfg=dict(
            self_attn_cfg=attention, ffn_cfg=ffn)),
        decoder=dict(num_layers=2, layer_cfg=dict(
            self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
        positional_encoding=dict(num_feats=width // 2),
        bbox_head=dict(num_classes=5, embed_dims=width), num_queries=30,
        test_cfg=dict(max_per_img=20))


# By name: MMDetection's config, and what is less.
CASES = {
    'retinanet': ('retinanet/retinanet_r50_fpn_1x_coco.py', DENSE),
    'fcos': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', DENSE),
    'atss': ('atss/atss_r50_fpn_1x_coco.py', DENSE),
    'gfl': ('gfl/gfl_r50_fpn_1x_coco.py', DENSE),
    'vfnet': ('vfnet/vfnet_r50_fpn_1x_coco.py', DENSE),
    'tood': ('tood/tood_r50_fpn_1x_coco.py',
             {**DENSE, 'bbox_head': {**DENSE['bbox_head'], 'stacked_convs': 2}}),
    'yolox': ('yolox/yolox_s_8xb8-300e_coco.py', dict(
        RTMDET, test_cfg=dict(score_thr=0.3))),
    'rtmdet': ('rtmdet/rtmdet_s_8xb32-300e_coco.py', RTMDET),
    'rtmdetins': ('rtmdet/rtmdet-ins_s_8xb32-300e_coco.py', RTMDET),
    'maskrcnn': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', _regions(masks=True)),
    'cascadercnn': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', _regions(3)),
    'cascademaskrcnn': ('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
                        _regions(3, masks=True)),
    'deformabledetr': ('deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
                       _queries()),
    'twostagedetr': ('deformable_detr/'
                     'deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
                     _queries(256)),
    'dino': ('dino/dino-4scale_r50_8xb2-12e_coco.py', _queries()),
    'mask2former': ('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', dict(
        panoptic_head=dict(
            in_channels=[8, 16, 32, 64], feat_channels=WIDTH, out_channels=WIDTH,
            num_queries=12, num_things_classes=5,
            pixel_decoder=dict(encoder=dict(num_layers=1, layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=WIDTH), ffn_cfg=dict(
                    embed_dims=WIDTH, feedforward_channels=64))),
                positional_encoding=dict(num_feats=WIDTH // 2)),
            positional_encoding=dict(num_feats=WIDTH // 2),
            transformer_decoder=dict(num_layers=3, layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=WIDTH),
                cross_attn_cfg=dict(embed_dims=WIDTH),
                ffn_cfg=dict(embed_dims=WIDTH, feedforward_channels=64))),
            loss_cls=dict(class_weight=[1.] * 5 + [.1])),
        panoptic_fusion_head=dict(num_things_classes=5),
        test_cfg=dict(max_per_image=20))),
}


class Graph(Engine):
    """What becomes a file's graph, as a file that PyTorch runs."""

    def __init__(self, module: nn.Module, metadata: dict):
        self.module, self.metadata = module, metadata

    def run(self, pictures: np.ndarray) -> Arrays:
        with torch.no_grad():
            found = self.module(torch.from_numpy(pictures))
        return {name: x.numpy() for name, x in zip(self.module.outputs, found)}


def tiny_detector(name: str, test_cfg: dict | None = None, seed: int = 0
                  ) -> tuple[Config, nn.Module]:
    """Return a config and a model of random weights, in deploy form.

    Args:
        name: Of ``CASES``.
        test_cfg: Changes.
        seed: Of the weights.
    """
    path, changes = CASES[name]
    cfg = get_config(f'mmdet::{path}')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone = dict(type='mmfastvit.FastViT', arch=ARCH)
    _merge(cfg.model, changes)
    _merge(cfg.model.test_cfg, test_cfg or {})
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model = randomize(revert_sync_batchnorm(model)).eval()
    if hasattr(model, 'level_embed'):  # memory as it was, until a training begins
        nn.init.normal_(model.level_embed)
    if name == 'yolox':  # its sides are exponentials, its scores products, all near 1
        for part, scale in (('reg', 0.01), ('cls', 0.1), ('obj', 0.1)):
            for layer in getattr(model.bbox_head, f'multi_level_conv_{part}'):
                layer.weight.data.mul_(scale)
    return cfg, reparameterize(model)


def _merge(target: dict, changes: dict) -> None:
    """Change nested fields; a list of dicts changes item by item."""
    for key, value in changes.items():
        own = target.get(key)
        if isinstance(value, list) and isinstance(own, list) and isinstance(
                value[0], dict):
            for item, change in zip(own, value, strict=True):
                _merge(item, change)
        elif isinstance(value, dict) and isinstance(own, list):
            for item in own:
                _merge(item, value)
        elif isinstance(value, dict) and isinstance(own, dict):
            _merge(own, value)
        else:
            target[key] = value
