"""Modules that exporters get wrong or cannot follow, and what computes the same.

A row each: what the toolboxes have, and what takes its place in the copy of a model
that is exported.
"""
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from .deformable import DeformableAttention, PixelDecoder


def substitute(model: nn.Module, known: Sequence[str] = ()) -> None:
    """Replace, in place, every module that has a row in :data:`SUBSTITUTES`.

    Args:
        model: Of a toolbox.
        known: Rows that stay as they are, since the format knows them.
    """
    for name, child in model.named_children():
        substitute(child, known)  # what is inside first
        kind = f'{type(child).__module__}.{type(child).__name__}'
        row = SUBSTITUTES.get(kind)
        if row and kind not in known:
            setattr(model, name, row(child))


class AdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` of which no size is a constant.

    Each axis is a product with a matrix, made of the map's own side.

    Args:
        output_size: Rows and columns; None keeps the map's.
    """

    def __init__(self, output_size: tuple[int | None, int | None]):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, rows, columns)."""
        rows, columns = self.output_size
        if columns is not None:
            x = x @ _means(x.shape[3], columns, x).T
        return x if rows is None else _means(x.shape[2], rows, x) @ x


def _means(side: int, count: int, like: Tensor) -> Tensor:
    """Return (count, side): row i is the mean from i * side / count on.

    It ends before (i + 1) * side / count, rounded up, as the first is rounded down;
    written without a division, which would round.
    """
    first = torch.arange(count, device=like.device)[:, None]
    pixel = torch.arange(side, device=like.device)
    inside = (first * side < (pixel + 1) * count) & (pixel * count < (first + 1) * side)
    inside = inside.to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


@contextmanager
def functions_that_export() -> Iterator[None]:
    """Within it, the toolboxes' functions of :data:`FUNCTIONS` are the others.

    Each of their modules has such a function under a name of its own.
    """
    swapped = []
    for (origin, name), function in FUNCTIONS.items():
        for module in list(sys.modules.values()):
            own = vars(module).get(name)
            if getattr(own, '__module__', None) == origin:
                swapped.append((module, name, own))
                setattr(module, name, function)
    try:
        yield
    finally:
        for module, name, own in swapped:
            setattr(module, name, own)


def _resize(input: Tensor, size=None, scale_factor=None, mode: str = 'nearest',
            align_corners: bool | None = None, warning: bool = True) -> Tensor:
    """With ``align_corners``, theirs makes sizes constants, to warn of them."""
    return F.interpolate(input, size, scale_factor, mode, align_corners)


def _inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """PyTorch's exporter writes wrong files of one clamp after another."""
    return (x.clamp(eps, 1.) / (1 - x).clamp(eps, 1.)).log()


def _upsample(module: nn.Module) -> nn.Module:
    """It turns sizes into constants: right at one size, wrong at every other."""
    return nn.Upsample(module.size, module.scale_factor, module.mode,
                       module.align_corners)


def _pool(module: nn.AdaptiveAvgPool2d) -> nn.Module:
    """Exporters make it a pool of the windows that the recorded map has."""
    size = module.output_size
    size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return module if size == (1, 1) else AdaptivePool(size)  # one mean is no trap


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


# Guarded by tests/export/test_onnx.py, test_segmentors.py and test_heads.py.
SUBSTITUTES: dict[str, Callable[[nn.Module], nn.Module]] = {
    'mmseg.models.utils.wrappers.Upsample': _upsample,
    'torch.nn.modules.pooling.AdaptiveAvgPool2d': _pool,
    'mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttention':
        DeformableAttention,
    'mmdet.models.layers.msdeformattn_pixel_decoder.MSDeformAttnPixelDecoder':
        PixelDecoder,
    'mmcv.ops.deform_conv.DeformConv2d': DeformableConv}
FUNCTIONS: dict[tuple[str, str], Callable] = {
    ('mmseg.models.utils.wrappers', 'resize'): _resize,
    ('mmdet.models.layers.transformer.utils', 'inverse_sigmoid'): _inverse_sigmoid}
