"""Modules that exporters get wrong or cannot follow, and what computes the same.

A row each: what the toolboxes have, and what takes its place in the copy of a model
that is exported.
"""
from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from .deformable import DeformableAttention, PixelDecoder


def substitute(model: nn.Module) -> None:
    """Replace, in place, every module that has a row in :data:`SUBSTITUTES`."""
    for name, child in model.named_children():
        substitute(child)  # what is inside first
        row = SUBSTITUTES.get(f'{type(child).__module__}.{type(child).__name__}')
        if row:
            setattr(model, name, row(child))


def _upsample(module: nn.Module) -> nn.Module:
    """It turns sizes into constants: right at one size, wrong at every other."""
    return nn.Upsample(module.size, module.scale_factor, module.mode,
                       module.align_corners)


class DeformableConv(nn.Module):
    """What mmcv's ``DeformConv2d`` computes, by torchvision, which exporters know.

    Args:
        conv: That one.
    """

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        own = self.conv
        return deform_conv2d(x, offset, own.weight, stride=own.stride,
                             padding=own.padding, dilation=own.dilation)


# Guarded by tests/export/test_onnx.py.
SUBSTITUTES: dict[str, Callable[[nn.Module], nn.Module]] = {
    'mmseg.models.utils.wrappers.Upsample': _upsample,
    'mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttention':
        DeformableAttention,
    'mmdet.models.layers.msdeformattn_pixel_decoder.MSDeformAttnPixelDecoder':
        PixelDecoder,
    'mmcv.ops.deform_conv.DeformConv2d': DeformableConv}
