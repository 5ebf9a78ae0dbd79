"""Whole models in ``torch.channels_last``, which is faster for FastViT."""
import sys
from functools import cache
from types import ModuleType
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

# Packages whose layers compute with PyTorch's operators, which follow strides.
_FOLLOW_STRIDES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv.cnn', 'mmdet',
                   'mmseg', 'mmpretrain', 'mmfastvit')
# Where the convolutions are that hand their weight to PyTorch as it is. Others,
# ConvWS and ConvAWS for example, look at it as if it were contiguous.
_CONVOLUTIONS = ('torch.nn.modules.conv', 'mmcv.cnn.bricks.wrappers',
                 'mmfastvit.models.layers.modules')
# Functions of mmcv.ops that take boxes or points, or are PyTorch's themselves.
_TAKE_NO_MAPS = ('nms', 'line_nms', 'point_sample', 'focal_loss')


def lay_out(model: nn.Module, trains: bool, device: str) -> nn.Module:
    """Lay out a model's maps as they are computed fastest.

    That is channels last, but for what is trained on a CPU: there, gradients of dense
    3x3 kernels, of which necks and heads are made, take oneDNN twice as long in
    channels last. So only this project's networks are channels last then, and return
    contiguous maps.

    Args:
        model: A backbone, detector, segmentor or classifier; changed in place.
        trains: Whether it will be trained.
        device: Where it will run.
    """
    if (not trains or torch.device(device).type != 'cpu'
            or _is_of(type(model), ('mmfastvit.models',))):
        return to_channels_last(model)
    for module in _outermost_own(model):
        to_channels_last(module)
        module.register_forward_hook(_return_contiguous)
    return model


def to_channels_last(model: nn.Module) -> nn.Module:
    """Lay out a model's weights, and so its feature maps, channels last.

    Pictures need no conversion: a convolution follows its weight. The numbers
    stay the same up to rounding. Only layers of packages that are known to follow
    strides are converted. Any other gets contiguous maps and gradients, and what is
    inside it stays as it is: mmcv's operators, RoIAlign for one, read any layout as
    if it were contiguous, and so may a layer of one's own (guarded by
    tests/engine/test_memory_format.py).

    Args:
        model: A backbone, detector, segmentor or classifier; changed in place.
    """
    kind = type(model)
    if _calls_compiled_operators(kind) or not (
            _is_of(kind, _FOLLOW_STRIDES) or isinstance(model, BaseModel)):
        model.register_forward_pre_hook(_take_contiguous, with_kwargs=True)
        model.register_forward_hook(_take_contiguous_gradients)
        for module in _outermost_own(model):
            to_channels_last(module)
            module.register_forward_hook(_return_contiguous)
        return model
    if (isinstance(model, (nn.Conv2d, nn.ConvTranspose2d))
            and kind.__module__ in _CONVOLUTIONS):
        model.to(memory_format=torch.channels_last)
    for child in model.children():
        to_channels_last(child)
    return model


@cache
def _calls_compiled_operators(kind: type) -> bool:
    """Whether a layer is of mmcv.ops, or its source names a function from there.

    Layers of mmcv.ops that it holds are asked for themselves.
    """
    for base in kind.__mro__:
        if _is_of(base, ('mmcv.ops',)):
            return True
        for value in list(vars(sys.modules.get(base.__module__, object)).values()):
            if isinstance(value, ModuleType):
                if value.__name__.startswith('mmcv.ops'):
                    return True
                continue
            value = getattr(value, '__self__', value)  # Function.apply
            if (_is_of(value, ('mmcv.ops',))
                    and not (isinstance(value, type) and issubclass(value, nn.Module))
                    and value.__module__.split('.')[2] not in _TAKE_NO_MAPS):
                return True
    return False


def _is_of(value: Any, packages: tuple[str, ...]) -> bool:
    """Whether a class or function was defined in one of the packages."""
    name = getattr(value, '__module__', None)
    return isinstance(name, str) and f'{name}.'.startswith(
        tuple(f'{package}.' for package in packages))


def _outermost_own(module: nn.Module) -> list[nn.Module]:
    """Return the networks of this project inside ``module``."""
    return [found for child in module.children() for found in (
        [child] if _is_of(type(child), ('mmfastvit.models',))
        else _outermost_own(child))]


def _take_contiguous(module: nn.Module, args: tuple, kwargs: dict) -> tuple:
    return _contiguous(args), _contiguous(kwargs)


def _take_contiguous_gradients(module: nn.Module, args: tuple, output: Any) -> None:
    for tensor in _tensors(output):
        if tensor.requires_grad:
            tensor.register_hook(_contiguous)


def _return_contiguous(module: nn.Module, args: tuple, output: Any) -> Any:
    return _contiguous(output)


def _contiguous(value: Any) -> Any:
    """Return ``value`` with contiguous tensors in all its lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return value.contiguous() if value.layout == torch.strided else value
    if type(value) in (list, tuple):
        return type(value)(map(_contiguous, value))
    if type(value) is dict:
        return {key: _contiguous(part) for key, part in value.items()}
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return ([tensor for part in parts for tensor in _tensors(part)]
            if isinstance(value, (list, tuple, dict)) else [])
