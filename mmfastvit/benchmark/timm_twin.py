"""timm's FastViT, the peer that a user would take instead."""
import re
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.models.fastvit import VARIANTS, FastViT, convert_state_dict
from mmfastvit.utils.errors import ArgumentError

from .weights import randomize

_NAMES = {'fastvithd': 'mci3'}  # which timm calls otherwise


def build(arch: str) -> nn.Module:
    """Return timm's network of a variant, giving the maps of its first four stages.

    Its stem has what ours has, so that it can train in channels_last: there, the
    backward pass of a dense 1x1 convolution of stride 2 with few channels
    corrupts memory in torch 2.11 on CPUs.

    Raises:
        ArgumentError: timm is missing.
    """
    try:
        import timm
    except ImportError as error:
        raise ArgumentError('comparing with timm needs it: pip install timm, or '
                            'leave out --vs timm.') from error
    twin = timm.create_model(_name(arch), features_only=True)
    _mend_stem(twin)
    return twin


def _name(arch: str) -> str:
    return f'fastvit_{_NAMES.get(arch.lower(), arch.lower())}'


def _mend_stem(twin: nn.Module) -> None:
    for conv in twin.modules():
        if (isinstance(conv, nn.Conv2d) and conv.groups == 1
                and conv.kernel_size == (1, 1) and conv.stride != (1, 1)):
            conv.__class__ = _PickFirst


def load_twin(ours: nn.Module) -> tuple[str, nn.Module]:
    """Give our backbone a twin's weights; return the twin's name and the twin.

    Raises:
        ArgumentError: timm has no such network.
    """
    arch = None
    if (isinstance(ours, FastViT) and ours.in_channels == 3
            and max(ours.out_indices) == 3):  # the twin's last stage
        shape = replace(ours.variant, layer_scale_init_value=0)
        arch = next((name for name, row in VARIANTS.items()
                     if replace(row, layer_scale_init_value=0) == shape), None)
    if arch is None:
        raise ArgumentError(f'timm has no {type(ours).__name__} like this one, up to '
                            'its fourth stage: leave out --vs timm.')
    torch.manual_seed(0)
    twin = randomize(build(arch))
    ours.load_state_dict(our_weights(twin))
    return _name(arch), twin


def replace_by_twin(model: nn.Module) -> None:
    """Put the twin of a model's backbone in its place, in MMPretrain's wrapper.

    Raises:
        ArgumentError: timm has no such network, or MMPretrain is missing.
    """
    ours = model.backbone
    name, twin = load_twin(ours)
    try:
        from mmpretrain.models import TIMMBackbone
    except ImportError as error:
        raise ArgumentError('a model with timm\'s backbone needs MMPretrain\'s wrapper '
                            'of timm: install mmpretrain.') from error
    model.backbone = TIMMBackbone(name, features_only=True,
                                  out_indices=ours.out_indices)
    model.backbone.train(ours.training)
    _mend_stem(model.backbone)
    model.backbone.timm_model.load_state_dict(twin.state_dict())


def our_weights(twin: nn.Module) -> StateDict:
    """Return the twin's weights under our names."""
    # To extract features timm flattens itself: stages.0 is stages_0 there.
    return convert_state_dict({
        re.sub(r'^(stem|stages)_', r'\1.', name): tensor
        for name, tensor in twin.state_dict().items()})


class _PickFirst(nn.Conv2d):
    """A strided 1x1 convolution of the pixels that it sees."""

    def forward(self, x: Tensor) -> Tensor:
        step_h, step_w = self.stride
        return F.conv2d(x[:, :, ::step_h, ::step_w], self.weight, self.bias)
