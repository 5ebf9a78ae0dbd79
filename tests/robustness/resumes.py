"""Checkpoints that ``--resume`` consumes: whatever MMEngine takes from a file."""
from pathlib import Path
from random import Random
from typing import Any

import torch

from mmfastvit.checkpoints.read import load_file, read_state_dict
from mmfastvit.engine.runner import train

from .case import CANARY, Case, Kind, anything, nothing
from .toy import epochs, toy_config

ODD = (None, '', 'x', -1, 3.5, 10**30, [], {}, [None], {'a': {}}, float('nan'), True,
       torch.ones(2), ('a',), b'raw')


def prepare(good: Path) -> None:
    train(toy_config(good, max_epochs=2, ballast=4))


def resuming(content: dict[str, Any], folder: Path, accepts=None) -> Case:
    path = folder / 'given.pth'
    torch.save(content, path)

    def run() -> list[int]:
        train(toy_config(folder, max_epochs=4, ballast=4), resume=str(path))
        return epochs('started', folder / 'progress.txt')

    return Case(run, accepts or (lambda started: started == [2, 3]), [path.name])


def _good(good: Path) -> dict[str, Any]:
    return load_file(good / 'work' / 'epoch_2.pth')


def hostile_config(random: Random, folder: Path, good: Path) -> Case:
    """Let the file's config, which MMEngine parses, write the canary."""
    content, path = _good(good), folder / CANARY
    source = random.choice((
        f'open({str(path)!r}, "w").close()', f'import os\nos.system("touch {path}")',
        f'a = __import__("pathlib").Path({str(path)!r}).touch()', f'import {CANARY}',
        f'_base_ = {str(path)!r}', f"custom_imports = dict(imports=['{CANARY}'])",
        f'a = {{{{fileDirname}}}}; open({str(path)!r}, "w")',
        f'from mmengine.config import read_base\nwith read_base():\n'
        f'    from .{CANARY} import *'))
    content['meta'][random.choice(('config', 'cfg', 'config'))] = source
    return resuming(content, folder, anything)


def odd_meta(random: Random, folder: Path, good: Path) -> Case:
    """Change or drop what the file says about itself; weights stay as they are."""
    content = _good(good)
    part = random.choice((content, content['meta'], content['message_hub'],
                          content['optimizer']))
    key = random.choice([key for key in part if key != 'state_dict'])
    if random.random() < 0.4:
        del part[key]
    else:
        part[key] = random.choice(ODD)
    # Without these, nothing says where to go on; the rest is about the past.
    return resuming(content, folder, nothing if key in ('epoch', 'iter') else None)


def odd_optimizer(random: Random, folder: Path, good: Path) -> Case:
    """Change the optimizer's state: of other shapes, or no numbers."""
    content = _good(good)
    states = content['optimizer']['state']
    key = random.choice(list(states))
    states[key]['momentum_buffer'] = random.choice((
        torch.ones(7), torch.full_like(states[key]['momentum_buffer'], float('nan')),
        'x', []))
    return resuming(content, folder, nothing)


def partial_weights(random: Random, folder: Path, good: Path) -> Case:
    """Drop, rename or damage weights: going on would be starting anew."""
    content = _good(good)
    state = content['state_dict']
    keys = list(state)
    way = random.randrange(6)
    if way == 0:
        state.clear()
    elif way == 1:
        for key in random.sample(keys, random.randint(1, len(keys) - 1)):
            del state[key]
    elif way == 2:
        content['state_dict'] = {f'other.{key}': state[key] for key in keys}
    elif way == 3:
        state['fc.weight'] = random.choice((torch.ones(5, 2), torch.ones(1, 3), 'x'))
    elif way == 4:
        state['fc.weight'][0, 0] = random.choice((float('nan'), float('inf')))
    else:
        state['norm.running_var'] -= 1000
    return resuming(content, folder, nothing)


def prefixed_weights(random: Random, folder: Path, good: Path) -> Case:
    """Put the prefixes of wrappers before the names."""
    content = _good(good)
    prefix = random.choice(('module.', '_orig_mod.', 'model.', 'module._orig_mod.'))
    content['state_dict'] = {prefix + key: value
                             for key, value in content['state_dict'].items()}

    def same(started: list[int]) -> bool:
        """Whether the weights went in: at a rate of 0.01 they hardly change."""
        after = read_state_dict(str(folder / 'work' / 'epoch_3.pth'))
        return started == [2, 3] and torch.allclose(
            after['fc.weight'], content['state_dict'][f'{prefix}fc.weight'], atol=0.1)

    return resuming(content, folder, same)


def weights_alone(random: Random, folder: Path, good: Path) -> Case:
    """Resume from a file that holds no state of a training."""
    content = _good(good)
    content = random.choice((content['state_dict'], dict(
        state_dict=content['state_dict']), dict(
            state_dict=content['state_dict'], meta=content['meta']), {}))
    return resuming(content, folder, lambda started: started == [2, 3])


KIND = Kind(prepare, (hostile_config, odd_meta, odd_optimizer, partial_weights,
                      prefixed_weights, weights_alone), count=60, seconds=60)
