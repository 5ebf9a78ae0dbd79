"""Norm layers from a config."""
from torch import nn

_BATCH_NORMS = {'BN': nn.BatchNorm2d, 'BN2d': nn.BatchNorm2d,
                'SyncBN': nn.SyncBatchNorm}


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Return the norm that an OpenMMLab ``norm_cfg`` describes.

    Batch norms are built here, so that the backbone runs without mmcv; any
    other type is left to mmcv.

    Args:
        cfg: ``type``, optionally ``requires_grad``, and the norm's arguments.
        channels: ``C`` of the (B, C, H, W) input.
    """
    if cfg.get('type') not in _BATCH_NORMS:
        from mmcv.cnn import build_norm_layer
        return build_norm_layer(cfg, channels)[1]
    options = dict(cfg)
    norm_type = _BATCH_NORMS[options.pop('type')]
    requires_grad = options.pop('requires_grad', True)
    return norm_type(channels, **options).requires_grad_(requires_grad)
