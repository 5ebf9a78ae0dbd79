"""Command lines: valid ones of each tool, of which an option or two is changed."""
import argparse
import hashlib
import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from random import Random
from unittest.mock import patch

from conftest import ROOT
from helpers import shapes_case
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes

from . import datasets, exported  # noqa: F401 - imported before the fork
from .case import Case, Kind
from .damage import no_file_of_ours

sys.path.insert(0, str(ROOT / 'tools'))  # as Python does for a script

# Words that are none of a kind that an option takes, or are at its end.
NUMBERS = ('-1', '0', '1', '3', '1.5', 'x', '', '1e400', 'nan', '99999999999999999999')
PATHS = (
    'nowhere', '/', '.', '', '/proc/none/a.pth', 'config.py', 'model.pth', 'photo.png',
    'pictures', 'model.onnx', 'broken.bin', 'a' * 300, '/dev/full', 'ü ö.pth', '-', '~',
    'readonly/out.png', 'work', 'wrong.py', 'http://localhost:9/a.pth')
SETTINGS = (
    'a', 'a=', '=', 'model=None', 'model.backbone=3', 'model.backbone.arch=x',
    'model.backbone.more=1', 'model.head.num_classes=7', 'train_cfg=None',
    'train_dataloader.batch_size=-1', 'train_dataloader.batch_size=x', 'a.b.c=[1',
    'optim_wrapper.optimizer.type=None', 'default_hooks.checkpoint=3',
    'model.type=Nothing', 'train_dataloader.dataset.data_root=/nowhere',
    'model.backbone.init_cfg.checkpoint=nowhere.pth', 'default_scope=x',
    'model.backbone.arch=sa12', 'test_dataloader=None', 'custom_imports=x',
    'randomness.seed=-1', 'load_from=photo.png', 'work_dir=/proc/none')
CONFIGS = {
    'syntax.py': 'model = dict(', 'base.py': "_base_ = 'nowhere.py'", 'empty.py': '',
    'circle.py': "_base_ = 'circle.py'", 'name.py': 'model = undefined_name',
    'type.py': "model = dict(type='Nothing')", 'import.py': 'import nowhere_at_all',
    'raise.py': 'raise ValueError("mine")', 'exit.py': '1 / 0', 'text.py': 'Привет',
    'yaml.yaml': 'model: [', 'json.json': '{"model": ', 'number.py': 'model = 3',
    'latin.py': '# \xfc\nmodel = 1',
    'part.py': "model = dict(backbone=dict(type='FastViT'))",
}
# Valid, and short. Names are of files in the folder of the input.
LINES = {
    'train': ['config.py'], 'test': ['config.py', 'model.pth'],
    'browse_dataset': ['config.py', '--out', 'drawn'],
    'visualize': ['config.py', 'model.pth', 'photo.png', '--out', 'drawn'],
    'summary': ['t8', '--size', '64'], 'plot_log': ['work', '--out', 'curve.png'],
    'reparameterize': ['config.py', 'model.pth', 'deploy.pth', '--num-pictures', '1'],
    'convert_checkpoint': ['t8.pth', 'converted.pth'],
    'generate_shapes': ['new', '--num-train', '1', '--num-val', '1', '--image-size',
                        '64'],
    'generate_hands': ['new', '--num-train', '1', '--num-evaluation', '1',
                       '--image-size', '64'],
    'predict': ['model.onnx', 'photo.png', '--out', 'drawn.png'],
    'export': ['config.py', 'model.pth', '--out', 'model.txt'],
    'benchmark': ['t8', '--size', '32', '--rounds', '1', '--one-process', '--form',
                  'deploy'],
}
INPUTS = ('config.py', 'model.pth', 'photo.png', 't8.pth', 'model.onnx',
          'pictures/a.png', 'work/scalars.json')
# Tools that train or export take seconds: they come less often.
SLOW = 'train', 'benchmark', 'export', 'reparameterize', 'test'
TOOLS = (*LINES, *(name for name in LINES if name not in SLOW))


def prepare(good: Path) -> None:
    import torch

    from mmfastvit import FastViT
    generate_shapes(good / 'shapes', ShapesSpec(num_train=2, num_val=2, image_size=64))
    cfg, checkpoint = shapes_case('classifier', good / 'shapes', good)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.train_dataloader.batch_size = 2
    cfg.work_dir = 'work'
    cfg.dump(good / 'config.py')
    torch.save(FastViT('t8').state_dict(), good / 't8.pth')
    exported.write_onnx(good / 'model.onnx', 'detection',
                        json.dumps(exported.metadata('detection')))
    shutil.rmtree(good / 'work', ignore_errors=True)
    photo = next((good / 'shapes' / 'val').iterdir())
    shutil.copy(photo, good / 'photo.png')
    for name in 'ab':
        (good / 'pictures').mkdir(exist_ok=True)
        shutil.copy(photo, good / 'pictures' / f'{name}.png')
    (good / 'pictures' / 'damaged.png').write_bytes(photo.read_bytes()[:100])
    (good / 'work').mkdir()
    (good / 'work' / 'scalars.json').write_text('{"loss": 1.0, "step": 1}\n' * 3)


def parser_of(tool: str) -> argparse.ArgumentParser:
    """Return the parser that a tool builds."""
    class Found(BaseException):  # which no tool explains
        pass

    def give(self, *_):
        raise Found(self)

    with patch.object(argparse.ArgumentParser, 'parse_args', give):
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
        except Found as found:
            return found.args[0]
    raise AssertionError(f'{tool} parses nothing')


def changed_options(random: Random, folder: Path, good: Path) -> Case:
    """Change or add one or two options, as the tool's own parser knows them."""
    tool = random.choice(TOOLS)
    words = list(LINES[tool])
    options = [action for action in parser_of(tool)._actions
               if action.option_strings and action.dest != 'help']
    for _ in range(random.choice((1, 1, 2))):
        way = random.random()
        if way < 0.35:
            words[random.randrange(len(words))] = random.choice(PATHS + NUMBERS)
        elif way < 0.45:
            del words[random.randrange(len(words))]
        else:
            words += _option(random, random.choice(options))
    return calling(tool, words, folder, good)


def _option(random: Random, action: argparse.Action) -> list[str]:
    """Return an option and a value that suits, almost suits, or is none."""
    name = action.option_strings[0]
    if action.nargs == 0 or random.random() < 0.1:
        return [name]
    if action.dest == 'cfg_options':
        return [name, *random.choices(SETTINGS, k=random.choice((1, 2)))]
    if action.choices and random.random() < 0.7:
        return [name, random.choice(list(action.choices))]
    return [name, random.choice(NUMBERS if action.type else PATHS)]


def wrong_configs(random: Random, folder: Path, good: Path) -> Case:
    """Give a config that cannot be read or built."""
    tool = random.choice([name for name in LINES if 'config.py' in LINES[name]
                          or name == 'summary'])
    name = random.choice(list(CONFIGS))
    words = [name if word in ('config.py', 't8') else word for word in LINES[tool]]
    (folder / name).write_bytes(CONFIGS[name].encode('latin1', 'ignore')
                                if name == 'latin.py' else CONFIGS[name].encode())
    return calling(tool, words, folder, good)


def settings(random: Random, folder: Path, good: Path) -> Case:
    """Override settings of a config with what they cannot be."""
    tool = random.choice(('train', 'browse_dataset', 'visualize', 'test'))
    return calling(tool, [*LINES[tool], '--cfg-options', *random.sample(
        SETTINGS, random.choice((1, 2)))], folder, good)


def outputs_that_are_inputs(random: Random, folder: Path, good: Path) -> Case:
    """Let a tool write to what it reads."""
    tool, words = random.choice((
        ('reparameterize', ['config.py', 'model.pth', 'model.pth']),
        ('reparameterize', ['config.py', 'model.pth', 'config.pth']),
        ('convert_checkpoint', ['t8.pth', 't8.pth']),
        ('convert_checkpoint', ['./t8.pth', 'pictures/../t8.pth']),
        ('predict', ['model.onnx', 'photo.png', '--out', 'photo.png']),
        ('predict', ['model.onnx', 'pictures', '--out', 'pictures']),
        ('predict', ['model.onnx', 'photo.png', '--json', 'model.onnx']),
        ('plot_log', ['work/scalars.json', '--out', 'work/scalars.json']),
        ('visualize', ['config.py', 'model.pth', 'pictures', '--out', 'pictures']),
        ('generate_shapes', ['pictures']), ('generate_shapes', ['photo.png']),
        ('export', ['config.py', 'model.pth', '--out', 'model.pth']),
        ('train', ['config.py', '--work-dir', 'photo.png'])))
    return calling(tool, words, folder, good)


def calling(tool: str, words: list[str], folder: Path, good: Path) -> Case:
    """Return the case of a command line; it must leave its inputs as they are."""
    for path in good.iterdir():
        if path.name != 'shapes':
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, folder / path.name)
    (folder / 'broken.bin').write_bytes(no_file_of_ours(Random(repr(words))))
    (folder / 'readonly').mkdir(mode=0o500)
    before = _hashes(folder)

    def run() -> None:
        os.chdir(folder)
        sys.argv = [f'tools/{tool}.py', *words]
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')

    def unchanged() -> bool:
        return _hashes(folder) == before

    return Case(run, lambda result: unchanged(), kept=unchanged,
                about=f'{tool} {" ".join(words)}')


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if (folder / name).is_file() else '' for name in INPUTS}


KIND = Kind(prepare, (changed_options, wrong_configs, changed_options, settings,
                      outputs_that_are_inputs), count=75, seconds=90, megabytes=4000)
