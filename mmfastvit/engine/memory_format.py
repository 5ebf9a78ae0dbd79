"""Whole models in ``torch.channels_last``, which is faster for FastViT."""
from typing import Any

import torch
from torch import Tensor, nn


def to_channels_last(model: nn.Module) -> nn.Module:
    """Lay out a model's weights, and so its feature maps, channels last.

    Pictures need no conversion: a convolution follows its weight. The numbers
    stay the same up to rounding. Layers of mmcv's own get contiguous maps, since
    its operators, RoIAlign for one, read any other layout as if it were
    contiguous (guarded by tests/engine/test_memory_format.py).

    Args:
        model: A backbone, detector, segmentor or classifier; changed in place.
    """
    for module in model.modules():
        if type(module).__module__.startswith('mmcv.ops.'):
            module.register_forward_pre_hook(_make_contiguous)
    return model.to(memory_format=torch.channels_last)


def _make_contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)
