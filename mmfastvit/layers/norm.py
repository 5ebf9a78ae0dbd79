"""Norm layers from a config, and what their mode means for fusion."""
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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


def is_batch_norm(norm: nn.Module) -> bool:
    """Tell whether ``norm`` computes as PyTorch's (synchronized) batch norm.

    Other libraries derive classes of their own from it.
    """
    return type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def is_foldable(norm: nn.Module) -> bool:
    """Tell whether ``norm`` keeps running statistics to fold."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def uses_running_statistics(norm: nn.Module) -> bool:
    """Tell whether ``norm`` is, right now, a fixed affine map."""
    return is_foldable(norm) and not norm.training
