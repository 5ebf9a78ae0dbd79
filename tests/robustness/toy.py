"""A model, data and hooks with which MMEngine's runner trains in milliseconds."""
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn
from torch.utils.data import Dataset


@MODELS.register_module()
class RobustnessModel(BaseModel):
    """A linear layer, and weights enough for a file to take its time.

    Args:
        ballast: Numbers beside the layer's.
    """

    def __init__(self, ballast: int = 2**20):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2)
        self.ballast = nn.Parameter(torch.zeros(ballast))

    def forward(self, x, mode='tensor'):
        return dict(loss=self.fc(self.norm(x)).square().mean() + self.ballast[0]**2)


@DATASETS.register_module()
class RobustnessData(Dataset):
    """Eight pairs of numbers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        return dict(x=torch.tensor([float(index), 1.]))


@HOOKS.register_module()
class Progress(Hook):
    """Note where training starts, and each epoch whose checkpoint is complete."""

    def before_train_epoch(self, runner):
        note('started', runner.epoch)

    def after_train_epoch(self, runner):
        note('saved', runner.epoch + 1)


def note(what: str, epoch: int) -> None:
    with open('progress.txt', 'a') as file:  # the input's own folder is the current
        print(what, epoch, file=file)
        file.flush()
        os.fsync(file.fileno())


def epochs(what: str, path: Path) -> list[int]:
    """Return the epochs that were noted."""
    if not path.exists():
        return []
    lines = [line.split() for line in path.read_text().splitlines()]
    return [int(line[1]) for line in lines if len(line) == 2 and line[0] == what]


def toy_config(folder: Path, max_epochs: int, keep: int = -1, ballast: int = 2**20,
               **changes) -> Config:
    """Return a config that trains the model; a checkpoint each epoch."""
    cfg = Config(dict(
        model=dict(type='RobustnessModel', ballast=ballast), default_scope='mmengine',
        train_dataloader=dict(
            batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RobustnessData')),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', interval=1, max_keep_ckpts=keep)),
        # After the checkpoint hook, which is VERY_LOW.
        custom_hooks=[dict(type='Progress', priority='LOWEST')],
        randomness=dict(seed=0), launcher='none', work_dir=str(folder / 'work')))
    cfg.merge_from_dict(changes)
    return cfg
