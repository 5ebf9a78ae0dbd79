"""Filling a whole detector, segmentor or classifier from a checkpoint.

For every tool, and for the runner's ``load_from`` and ``--resume``: MMEngine's
own functions skip what does not fit.
"""
import logging

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn

from mmfastvit.utils.errors import CheckpointError

from .fit import StateDict, check_numbers, describe_misfit, shorten
from .read import read_state_dict
from .work_dir import latest_checkpoint

# What DistributedDataParallel, torch.compile and Lightning put before all names.
_WRAPPERS = ('module.', '_orig_mod.', 'model.')
_TRUNK = ('backbone', 'neck')


def load_weights(model: nn.Module, checkpoint: str, other_heads: bool = False,
                 allow_non_finite: bool = False) -> None:
    """Fill a whole model, all of it or not at all; the log names the file.

    Args:
        model: A detector, segmentor or classifier, wrapped or not.
        checkpoint: A file, or a work directory, whose latest is taken.
        other_heads: Whether heads may differ, see :func:`fitting_weights`.
        allow_non_finite: Take NaN, infinity and negative variances, too.

    Raises:
        CheckpointError: There is none, or a tensor is missing, unexpected or
            of another shape; the model then is unchanged.
    """
    checkpoint = latest_checkpoint(checkpoint)
    fill(model, read_state_dict(checkpoint), checkpoint, other_heads, allow_non_finite)


def fill(model: nn.Module, weights: StateDict, source: str,
         other_heads: bool = False, allow_non_finite: bool = False) -> None:
    """Fill a whole model with what was read from ``source``.

    Raises:
        CheckpointError: It does not fit; the model is unchanged.
    """
    if is_model_wrapper(model):
        model = model.module
    weights = fitting_weights(model, weights, source, other_heads)
    if not allow_non_finite:
        check_numbers(source, weights)
    model.load_state_dict(weights, strict=not other_heads)
    print_log(f'{source}: {len(weights)} tensors loaded.', 'current')


def fitting_weights(model: nn.Module, weights: StateDict, source: str,
                    other_heads: bool = False) -> StateDict:
    """Return the tensors of a file that fill a model, under the model's names.

    Args:
        model: A detector, segmentor or classifier, not wrapped.
        weights: From ``source``; a prefix that all names carry is left out.
        source: For messages.
        other_heads: For fine-tuning. Beside backbone and neck, tensors may have
            other shapes, as with another ``num_classes``, and whole heads may be
            missing or left over; the log says which.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    weights = without_wrappers(weights, expected)
    fresh, left_out = _heads_apart(expected, weights) if other_heads else (set(), set())
    required = {k: v for k, v in expected.items() if k not in fresh}
    taken = {k: v for k, v in weights.items() if k not in fresh | left_out}
    problems = describe_misfit(required, taken)
    if problems or not taken:
        raise CheckpointError(
            f'{source} does not fit the model. {_hint(expected, weights, source)} '
            f'{problems or "Not one tensor fits"}.')
    for what, names in (('stay as initialised', fresh),
                        ('of the file are left out', left_out)):
        if names:
            print_log(f'{source}: {len(names)} tensors of heads {what}: '
                      f'{shorten(sorted(names))}', 'current', logging.WARNING)
    return taken


def without_wrappers(weights: StateDict, expected: StateDict) -> StateDict:
    """Leave out prefixes that all names carry, and no expected one does."""
    for _ in _WRAPPERS:
        for prefix in _WRAPPERS:
            if (weights and all(name.startswith(prefix) for name in weights)
                    and not any(name.startswith(prefix) for name in expected)):
                weights = {k.removeprefix(prefix): v for k, v in weights.items()}
    return weights


def _heads_apart(expected: StateDict, weights: StateDict) -> tuple[set[str], set[str]]:
    """Return names in the model that may stay fresh, and in the file to leave out.

    Of a head that both have the names have to agree, or half a file would count
    as whole.
    """
    parts = [{_part(name) for name in state} for state in (expected, weights)]
    heads = {name for name in expected if not _is_trunk(name)}
    fresh = {name for name in heads if _part(name) not in parts[1]
             or name in weights and weights[name].shape != expected[name].shape}
    fresh |= {name for name in expected if name not in weights
              and name.endswith('.num_batches_tracked')}
    left_out = {name for name in weights
                if not _is_trunk(name) and _part(name) not in parts[0]}
    return fresh, left_out


def _is_trunk(name: str) -> bool:
    return any(part in _TRUNK for part in name.split('.'))


def _part(name: str) -> str:
    """Return ``roi_head.mask_head`` of ``roi_head.mask_head.convs.0.weight``."""
    names = name.split('.')
    last = max((i for i, part in enumerate(names) if part.endswith('head')), default=0)
    return '.'.join(names[:last + 1])


def _hint(expected: StateDict, weights: StateDict, source: str) -> str:
    forms = [any('.fused.' in name for name in state) for state in (weights, expected)]
    if forms == [True, False]:
        return ('The checkpoint is in deploy form, the model in train form: '
                'use the config that was written beside it.')
    if forms == [False, True]:
        return ('The checkpoint is in train form, the model in deploy form: '
                'use the config it was trained with, or re-parameterize it.')
    backbone = ("model.backbone.init_cfg=dict(type='Pretrained', "
                f"checkpoint='{source}')")
    if not expected.keys() & weights.keys():
        return ('Not one name is the same: it may hold a backbone alone, or another '
                f'model. To start from such a backbone set {backbone} instead.')
    return ('Use the config that the checkpoint was trained with; or to start from '
            f'its backbone alone, set {backbone}.')
