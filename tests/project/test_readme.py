"""README's commands, read out of it, run one after the other."""
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import timm
import torch

from conftest import ROOT
from helpers import SMALL, build_timm
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes
from mmfastvit.models.fastvit.published import PUBLISHED

COMMANDS = re.findall(r'^    ((?:python|torchrun|make|mmfastvit-predict) .*)$',
                      (ROOT / 'README.md').read_text(), re.M)
# What makes a command's data small; it computes all the same. Pictures of 64
# pixels stay that size, and weights cannot be fetched.
TINY = {
    'shapes': ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1'],
    'coco': ['train_cfg.max_epochs=1', 'model.backbone.init_cfg=None',
             'train_dataloader.dataset.pipeline.2.scale=(96,64)',
             'val_dataloader.dataset.pipeline.1.scale=(96,64)',
             'test_dataloader.dataset.pipeline.1.scale=(96,64)'],
}
TRAINS = ('train.py', 'test.py', 'visualize.py', 'browse_dataset.py',
          'reparameterize.py', 'export.py')


def options(command):
    """Return what to append to a command."""
    if not any(f'tools/{tool}' in command for tool in TRAINS):
        return []
    tiny = next((TINY[name] for name in TINY if f'_{name}.py' in command), [])
    return ['--cfg-options', *tiny, *SMALL] if tiny else []


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A checkout with small data where README wants it."""
    from mmdet.datasets import CocoDataset
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    shapes = generate_shapes(folder / 'data' / 'shapes', ShapesSpec(4, 2, 64))
    coco = folder / 'data' / 'coco'
    (coco / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (coco / f'{split}2017').symlink_to(shapes / split)
        content = json.loads(
            (shapes / 'annotations' / f'instances_{split}.json').read_text())
        # The shapes have the ids 1 to 3; the other names have to be there, too.
        content['categories'] = [dict(id=i, name=name) for i, name in enumerate(
            CocoDataset.METAINFO['classes'], 1)]
        (coco / 'annotations' / f'instances_{split}2017.json').write_text(
            json.dumps(content))
    torch.save(build_timm('sa12').state_dict(), folder / 'fastvit_sa12.pth.tar')
    url = PUBLISHED['apple://mobileclip2_s0'].address
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    fetched = folder / 'torch' / 'hub' / 'checkpoints' / f'mobileclip2_s0-{digest}.pt'
    fetched.parent.mkdir(parents=True)
    torch.save(timm.create_model('fastvit_mci0', num_classes=512).state_dict(), fetched)
    return folder


def test_nothing_is_missed():
    assert len(COMMANDS) > 10
    tools = {path.name for path in (ROOT / 'tools').glob('[!_]*.py')}
    named = {name for command in COMMANDS
             for name in re.findall(r'tools/(\w+\.py)', command)}
    assert any(command.startswith('mmfastvit-predict') for command in COMMANDS)
    assert named | {'make_environment.py', 'predict.py'} == tools


@pytest.mark.slow
def test_commands(folder):
    for command in COMMANDS:
        if command.startswith('make'):  # CI and people run those
            subprocess.run(['make', '-n', *command.split('#')[0].split()[1:]],
                           cwd=ROOT, check=True, stdout=subprocess.PIPE)
            continue
        words = shlex.split(command)
        if 'generate_shapes' in command:
            words += ['--num-train', '4', '--num-val', '2', '--image-size', '64']
        if 'generate_hands' in command:
            words += ['--num-train', '4', '--num-evaluation', '2', '--image-size', '64']
        if 'benchmark' in command:
            words += ['--rounds', '1']
        if words[0] == 'torchrun':
            words[:1] = [sys.executable, '-m', 'torch.distributed.run']
        elif words[0] == 'mmfastvit-predict':
            words[:1] = [sys.executable, '-m', 'mmfastvit_runtime.command']
        else:
            words[0] = sys.executable
        result = subprocess.run(
            [*words, *options(command)], cwd=folder, text=True, timeout=600,
            env={**os.environ, 'TORCH_HOME': str(folder / 'torch')},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert result.returncode == 0, f'{command}\n{result.stdout}'
    for path in ('pictures/data', 'pictures/test', 'pictures/val'):
        assert list((folder / path).glob('*.png'))
    for path in ('pictures/curves.png', 'deploy.pth', 'deploy.py',
                 'fastvit_sa12.safetensors', 'mci0.pth'):
        assert (folder / path).stat().st_size > 0
