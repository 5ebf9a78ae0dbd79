"""What a run may take from a checkpoint that it goes on from.

The file is untrusted, and MMEngine is trusting: it runs a config in it as Python,
deletes the files it names, and lets it replace any attribute of a scheduler. So
each part is held against what this run itself would save, and only that is left.
"""
from collections.abc import Iterable
from numbers import Number
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from mmfastvit.checkpoints.fit import describe_misfit
from mmfastvit.checkpoints.whole_model import fitting_weights
from mmfastvit.utils.errors import CheckpointError

_KINDS = (Number, np.bool_), str, (list, tuple), dict, (Tensor, np.ndarray)


def resumable(runner: Runner, model: Any, content: Any, source: str) -> dict[str, Any]:
    """Return the parts of a checkpoint that are safe to go on from.

    Args:
        runner: In training, with optimizer and schedulers built.
        model: The runner's, not wrapped.
        content: What ``source`` holds.
        source: For messages.

    Raises:
        CheckpointError: A part is missing, or is not what this run would save.
    """
    try:
        missing = [part for part in _parts(runner) if not _has(content, part)]
        if missing:
            raise _Unfit(f'holds no {", ".join(missing)}')
        found = dict(content)
        if not all(isinstance(v, Tensor) for v in found['state_dict'].values()):
            raise _Unfit('has weights that are no tensors')
        found['meta'] = _meta(found['meta'])
        found['message_hub'] = _message_hub(found['message_hub'])
        if found.get('optimizer') is not None:
            _check_optimizer(found['optimizer'], runner.optim_wrapper)
        if found.get('param_schedulers') is not None and runner.param_schedulers:
            _check_schedulers(found['param_schedulers'], runner.param_schedulers)
    except _Unfit as problem:
        raise CheckpointError(
            f'{source} {problem}: a run cannot go on from it. Resume from a checkpoint '
            'that this config saved, epoch_3.pth for example; or, to start anew from '
            f'its weights, leave out --resume and set load_from={source}.') from None
    found['state_dict'] = fitting_weights(model, found['state_dict'], source)
    _check_averages(found, runner, source)
    return found


class _Unfit(Exception):
    """What is wrong, to follow the file's name."""


def _has(content: Any, part: str) -> bool:
    if not isinstance(content, dict):
        return False
    kind = (dict, list) if part == 'param_schedulers' else dict
    return isinstance(content.get(part), kind)


def _parts(runner: Runner) -> Iterable[str]:
    """Yield what this run's own checkpoints hold."""
    yield from ('meta', 'state_dict', 'message_hub')
    savers = [hook for hook in runner.hooks if hasattr(hook, 'save_param_scheduler')]
    if all(hook.save_optimizer for hook in savers):
        yield 'optimizer'
    if runner.param_schedulers and all(hook.save_param_scheduler for hook in savers):
        yield 'param_schedulers'


def _meta(meta: dict) -> dict[str, Any]:
    """Return place and seed; the config, which MMEngine would run, is left out."""
    for name in ('epoch', 'iter'):
        _check_count(meta.get(name), f'meta.{name}')
    if meta.get('seed') is not None:
        _check_count(meta['seed'], 'meta.seed')
    return {name: meta.get(name) for name in ('epoch', 'iter', 'seed', 'dataset_meta')
            if _is_plain(meta.get(name))}


def _message_hub(hub: dict) -> dict[str, dict]:
    """Return the log, which the reader built from numbers, and what hooks noted."""
    parts = {name: hub.get(name)
             for name in ('log_scalars', 'runtime_info', 'resumed_keys')}
    for name, part in parts.items():
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise _Unfit(f'has a message_hub without {name}')
    infos = {key: value for key, value in parts['runtime_info'].items()
             if key != 'cfg' and _is_plain(value)}
    for name, value in infos.items():
        if name == 'keep_ckpt_ids':
            if not isinstance(value, list):
                raise _Unfit('has keep_ckpt_ids that are no list')
            for step in value:
                _check_count(step, name)
        elif name.startswith('best_ckpt') and value is not None:
            if not (isinstance(value, str)
                    and PurePath(value).name.startswith('best_')):
                raise _Unfit(f'has {value!r} as its best checkpoint')
        elif name.startswith('best_score') and not isinstance(value, Number):
            raise _Unfit(f'has {value!r} as its best score')
    scalars = {name: value for name, value in parts['log_scalars'].items()
               if isinstance(value, HistoryBuffer)}
    return dict(log_scalars=scalars, runtime_info=infos, resumed_keys={
        name: bool(value) for name, value in parts['resumed_keys'].items()
        if name in scalars or name in infos})


def _check_optimizer(state: dict, wrapper: Any) -> None:
    if isinstance(wrapper, OptimWrapperDict):
        expected = dict(wrapper.items())
        if state.keys() != expected.keys():
            raise _Unfit('has other optimizers')
        for name, part in expected.items():
            _check_optimizer(state[name], part)
        return
    expected = wrapper.state_dict()
    if not isinstance(state, dict) or not _is_plain(state) or not (
            {'state', 'param_groups'} <= state.keys()
            <= {*expected, 'loss_scaler', 'base_param_settings'}):
        raise _Unfit('has an optimizer that is none')
    groups, own = state['param_groups'], expected['param_groups']
    if not isinstance(groups, list) or len(groups) != len(own) or not all(
            isinstance(group, dict) and _is_like(group, mine)
            and len(group.get('params', ())) == len(mine['params'])
            for group, mine in zip(groups, own)):
        raise _Unfit('has an optimizer for other groups of parameters')
    kept = state['state']
    if not isinstance(kept, dict) or not all(
            isinstance(values, dict) for values in kept.values()):
        raise _Unfit('has an optimizer without state')
    _check_moments(kept, wrapper.optimizer)
    if 'loss_scaler' in expected and not _is_like(
            state.get('loss_scaler', {}), expected['loss_scaler']):
        raise _Unfit('has a scale of the loss that is none')


def _check_moments(kept: dict, optimizer: Optimizer) -> None:
    """Hold an optimizer's momentum against the parameters that it belongs to."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    # Others may keep matrices, or lists.
    is_torchs = type(optimizer).__module__.startswith('torch.optim')
    for i, values in kept.items():
        if type(i) is not int or not 0 <= i < len(parameters):
            raise _Unfit(f'has an optimizer with a parameter {i!r}')
        for name, value in values.items():
            if is_torchs and not (value is None or isinstance(value, (Number, Tensor))):
                raise _Unfit(f'has a {type(value).__name__} as {name} of its optimizer')
            if not isinstance(value, Tensor):
                continue
            if not value.isfinite().all():
                raise _Unfit(f'has NaN or infinity as {name} of its optimizer')
            if is_torchs and not _broadcasts(value.shape, parameters[i].shape):
                raise _Unfit(f'has {name} {tuple(value.shape)} for a parameter '
                             f'{tuple(parameters[i].shape)}')


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, to) == to
    except RuntimeError:
        return False


def _check_schedulers(found: Any, schedulers: Any) -> None:
    own = schedulers if isinstance(schedulers, dict) else {'': schedulers}
    found = found if isinstance(schedulers, dict) else {'': found}
    if not isinstance(found, dict) or found.keys() != own.keys():
        raise _Unfit('has param_schedulers of other optimizers')
    for name, several in own.items():
        states = found[name]
        if not isinstance(states, list) or len(states) != len(several):
            raise _Unfit('has another number of param_schedulers')
        for state, scheduler in zip(states, several):
            mine = scheduler.state_dict()
            if not (isinstance(state, dict) and state.keys() <= mine.keys()
                    and _is_plain(state) and _is_like(state, mine)):
                raise _Unfit(f'has other param_schedulers than '
                             f'{type(scheduler).__name__}')


def _check_averages(found: dict, runner: Runner, source: str) -> None:
    """Hold the weights that an EMAHook averages against those it expects."""
    for hook in runner.hooks:
        average = getattr(hook, 'ema_model', None)
        if average is None or 'ema_state_dict' not in found:
            continue
        problems = 'no names and tensors'
        if isinstance(found['ema_state_dict'], dict) and all(
                isinstance(v, Tensor) for v in found['ema_state_dict'].values()):
            problems = describe_misfit(average.state_dict(), found['ema_state_dict'])
        if problems:
            raise CheckpointError(f'{source}: its averaged weights (ema_state_dict) do '
                                  f'not fit the model. {problems}.')


def _check_count(value: Any, name: str) -> None:
    if type(value) is not int or value < 0:
        raise _Unfit(f'has {value!r} as {name}')


def _is_like(found: Any, expected: dict) -> bool:
    """Whether values are of the kinds that a dict of this run has."""
    return isinstance(found, dict) and all(
        value is None or expected.get(name) is None
        or _kind(value) == _kind(expected[name]) for name, value in found.items())


def _kind(value: Any) -> int:
    return next((i for i, kind in enumerate(_KINDS) if isinstance(value, kind)), -1)


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts, tensors and their collections."""
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(
        value, (Number, str, Tensor, np.ndarray, np.bool_))
