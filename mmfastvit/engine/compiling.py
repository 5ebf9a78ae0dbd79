"""Training with a compiled backbone."""
import inspect
from typing import Any

import torch
from mmengine.dist import is_distributed
from torch import nn

from mmfastvit.models.backbone import find_backbone
from mmfastvit.utils.errors import ArgumentError


def compile_backbone(model: nn.Module, options: bool | dict[str, Any]) -> None:
    """Compile a model's backbone in place, as ``torch.compile`` does; names stay.

    Args:
        model: A detector, segmentor, classifier or hand estimator.
        options: Arguments of ``torch.compile``; True for its defaults, False for
            leaving the backbone as it is.

    Raises:
        ArgumentError: ``options`` are anything else, or this backbone cannot be
            compiled.
    """
    if options is False:
        return
    allowed = list(inspect.signature(torch.compile).parameters)[1:]  # after the model
    if options is not True and not (
            isinstance(options, dict) and set(options) <= set(allowed)):
        raise ArgumentError(
            f'compile_backbone={options!r}: allowed are True, False or a dict with '
            f'some of {", ".join(allowed)}.')
    backbone = find_backbone(model)
    if is_distributed():
        raise ArgumentError('compile_backbone is for one process, and was tested in no '
                            'others: leave it out.')
    if getattr(backbone, 'with_cp', False):
        raise ArgumentError('compile_backbone and with_cp exclude each other: PyTorch '
                            'does not compile what it computes again. Leave one out.')
    backbone.compile(**({} if options is True else options))
