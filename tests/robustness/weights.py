"""Checkpoints that read well, and hold other things than they should."""
import argparse
import datetime
import enum
import pathlib
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit import FastViT
from mmfastvit.checkpoints.load import load_pretrained

from .case import Case, nothing

State = dict[str, Tensor]


def prepare(good: Path) -> None:
    torch.manual_seed(0)
    torch.save(FastViT('t8').state_dict(), good / 't8.pth')
    torch.save(FastViT('t12').state_dict(), good / 't12.pth')


def _small(good: Path) -> State:
    return torch.load(good / 'zip.pth', weights_only=True)


def _loading(content, folder: Path, accepts=None) -> Case:
    from .checkpoints import loading, save
    return loading(save(content, folder / 'changed.pth'), accepts)


class Colour(enum.Enum):
    RED = 1


class Own:
    """A class that is not there where the file is read."""


def foreign_classes(random: Random, folder: Path, good: Path) -> Case:
    """Store other objects beside weights, as trainers do."""
    value = random.choice((
        argparse.Namespace(lr=0.1, model='fastvit_t8'), pathlib.PurePosixPath('/a'),
        np.array(['circle', 'square']), np.str_('circle'), np.float64(0.5),
        np.arange(4), np.array([{}, None]), np.datetime64('2024-01-01'),
        np.random.default_rng(0).bit_generator.state, np.random.get_state(),
        datetime.datetime(2024, 1, 1), defaultdict(list), Colour.RED, Own(), Own,
        {1, 2}, frozenset([1]), torch.device('cpu'), torch.float16, torch.Size([1]),
        1 + 2j, range(3), slice(1), b'raw', bytearray(b'raw'), Ellipsis, 10**400,
        nn.Linear(2, 2), nn.Parameter(torch.ones(2)), torch.optim.SGD, len,
        torch.eye(2).to_sparse(), torch.Generator().get_state(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)))
    key = random.choice(('args', 'meta', 'optimizer', 'hyper_parameters'))
    content = dict(state_dict=_small(good), **{key: random.choice((
        value, dict(inner=value), [value]))})
    return _loading(content, folder)


def cycles(random: Random, folder: Path, good: Path) -> Case:
    """Store what refers to itself, or nests deeply, or shares its parts."""
    state = _small(good)
    wrapper = random.choice(('state_dict', 'model', 'module', 'state_dict_ema'))
    content = dict(state_dict=state, meta={})
    depth = random.choice((5, 40, 60, 300))
    way = random.randrange(6)
    if way == 0:
        content = {wrapper: None}
        content[wrapper] = content
    elif way == 1:
        one, other = {}, {}
        one['model'], other['state_dict'] = other, one
        content = one
    elif way == 2:
        for _ in range(depth):
            content = {random.choice(('state_dict', 'model')): content}
    elif way == 3:
        shared = ()
        for _ in range(depth):
            shared = (shared, shared)
        content['meta'] = shared if random.random() < .5 else {'a': [shared]}
    elif way == 4:
        shared = []
        shared.append(shared)
        content['meta'] = shared
    else:
        nested = None
        for _ in range(depth):
            nested = [nested] if random.random() < .5 else {'a': nested}
        content['meta'] = nested
    return _loading(content, folder)


def changed_tensors(random: Random, folder: Path, good: Path) -> Case:
    """Store the same numbers otherwise, or tensors that are no such numbers."""
    state = _small(good)
    name = random.choice(list(state))
    value = state[name]
    other = random.choice((
        lambda: value.double(), lambda: value.half(), lambda: value.bfloat16(),
        lambda: value.int(), lambda: value.bool(), lambda: value.cfloat(),
        lambda: value.numpy(), lambda: value.tolist(), lambda: None,
        lambda: value.flatten(), lambda: value[None], lambda: value.mT
        if value.ndim > 1 else value, lambda: value.expand(2, *value.shape),
        lambda: torch.stack([value, value], -1)[..., 0], lambda: value.to('meta'),
        lambda: value.to_sparse(), lambda: value.sum(), lambda: value[:0],
        lambda: nn.Parameter(value.float()), lambda: torch.empty(1).expand(10**9),
        lambda: torch.ones(()).expand(value.shape)))()
    state[name] = other

    def same_numbers(loaded: State) -> bool:
        return (isinstance(other, Tensor) and other.layout == torch.strided
                and other.shape == value.shape and not other.is_meta
                and other.is_floating_point() == value.is_floating_point()
                and torch.equal(loaded[name], other.to(value.dtype)))

    return _loading(state, folder, same_numbers)


def impossible_numbers(random: Random, folder: Path, good: Path) -> Case:
    """Store NaN, infinity, or a variance below 0."""
    state = _small(good)
    name = random.choice([key for key in state if 'tracked' not in key])
    number = random.choice((float('nan'), float('inf'), -float('inf')))
    if random.random() < 0.3:
        name, number = 'norm.running_var', -random.random()
    flat = state[name].view(-1)
    flat[random.randrange(len(flat))] = number
    return _loading(state, folder, nothing)


def changed_names(random: Random, folder: Path, good: Path) -> Case:
    """Put prefixes before names, rename, drop or add some."""
    state = _small(good)
    keys = list(state)
    way = random.randrange(5)
    if way == 0:
        prefix = random.choice(('module.', '_orig_mod.', 'model.', 'net.', 'ü.', ' ',
                                'module.model.'))
        state = {prefix + key: value for key, value in state.items()}
    elif way == 1:
        for key in random.sample(keys, random.randint(1, 5)):
            del state[key]
    elif way == 2:
        for key in random.sample(keys, random.randint(1, 5)):
            state[random.choice((key.upper(), key + 'x', key[1:], ''))] = state.pop(key)
    elif way == 3:
        state |= {random.choice(('extra', 'fc.fc', 3, (1, 2), None)): torch.ones(2)}
    else:  # a prefix for some, and both for others
        for key in random.sample(keys, 3):
            state['module.' + key] = state[key] + 1
    return _loading(state if random.random() < .5 else dict(state_dict=state), folder)


def changed_backbones(random: Random, folder: Path, good: Path) -> Case:
    """Rename, drop, double or damage tensors of a FastViT's checkpoint."""
    state = torch.load(good / random.choice(('t8.pth', 't8.pth', 't8.pth', 't12.pth')),
                       weights_only=True)
    keys = list(state)
    accepts, expected = None, torch.load(good / 't8.pth', weights_only=True)
    way = random.randrange(6)
    if way == 0:
        prefix = random.choice(('module.', 'backbone.', 'model.', 'teacher.backbone.',
                                '_orig_mod.', 'module.backbone.'))
        state = {prefix + key: value for key, value in state.items()}
    elif way == 1:
        for key in random.sample(keys, random.choice((1, 3, len(keys) // 2))):
            del state[key]
    elif way == 2:
        name = random.choice([key for key in keys if '.conv' in key])
        state[name] = state[name] * random.choice((float('nan'), float('inf')))
        accepts = nothing
    elif way == 3:  # two names that become one of ours
        for name in [key for key in keys if '.convffn.' in key or '.ffn.' in key]:
            for other in ('.mlp.', '.convffn.'):
                state[name.replace('.ffn.', other).replace('.convffn.', other)] = \
                    torch.zeros_like(state[name])
        accepts = nothing
    elif way == 4:
        name = random.choice(keys)
        state[name] = random.choice((state[name][None], torch.ones(3)))
        accepts = nothing
    else:  # two backbones
        state = {f'{part}.{key}': value for part in random.sample(
            ('backbone', 'teacher', 'student', 'ema'), 2)
            for key, value in state.items()}
    path = folder / 'backbone.pth'
    torch.save(dict(state_dict=state), path)
    model = FastViT('t8')
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def run() -> State:
        load_pretrained(model, str(path))
        return model.state_dict()

    def same(loaded: State, wanted: State = expected) -> bool:
        return all(torch.equal(loaded[key], wanted[key]) for key in wanted
                   if 'tracked' not in key)

    return Case(run, accepts or same, [path.name],
                kept=lambda: same(model.state_dict(), before))


DAMAGES = (foreign_classes, cycles, changed_tensors, impossible_numbers, changed_names,
           changed_backbones)
