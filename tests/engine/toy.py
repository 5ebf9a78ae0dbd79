"""A model and data that train in a second, for tests of what surrounds training."""
import copy
import random
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn


@MODELS.register_module()
class ToyModel(BaseModel):
    """A backbone with dropout, and a head."""

    def __init__(self, num_classes=3, width=4, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width),
                                      nn.Dropout(0.5))
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs, labels, mode='tensor'):
        scores = self.head(self.backbone(torch.stack(inputs).float()))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(scores, torch.tensor(labels)))
        return list(scores.softmax(1))


@DATASETS.register_module()
class ToyData(BaseDataset):
    """Noise of all three libraries on three points."""

    def load_data_list(self):
        return [dict(label=i % 3) for i in range(12)]

    def prepare_data(self, idx):
        label = self.get_data_info(idx)['label']
        noise = random.random() + np.random.rand() + torch.rand(2)
        return dict(inputs=noise + label, labels=label)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Rises with each validation."""

    value = 0

    def process(self, data_batch, data_samples):
        random.random(), np.random.rand(), torch.rand(1)  # disturbs training
        self.results.append(0)

    def compute_metrics(self, results):
        type(self).value += 1
        return dict(rising=type(self).value)


@HOOKS.register_module()
class FailWhileSaving(Hook):
    """End a process while it saves in an epoch, by default never."""

    def __init__(self, epoch=None, end='raise RuntimeError("ended")'):
        self.epoch, self.end = epoch, end

    def before_save_checkpoint(self, runner, checkpoint):
        if runner.epoch == self.epoch:
            exec(self.end)


def toy_config(work_dir, **changes) -> Config:
    """Return a config of two epochs; ``changes`` are dotted keys."""
    loader = dict(dataset=dict(type='ToyData', serialize_data=False), batch_size=4,
                  sampler=dict(type='DefaultSampler', shuffle=True), num_workers=0)
    cfg = Config(dict(
        default_scope='mmengine', launcher='none', work_dir=str(work_dir),
        model=dict(type='ToyModel'), load_from=None, resume=False,
        train_dataloader=loader, train_cfg=dict(by_epoch=True, max_epochs=2),
        val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type='ToyMetric'),
        test_dataloader=loader, test_cfg=dict(), test_evaluator=dict(type='ToyMetric'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=[dict(type='ExponentialLR', gamma=0.9)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='FailWhileSaving')], log_level='WARNING',
        randomness=dict(seed=0)))
    cfg.merge_from_dict(copy.deepcopy(changes))  # which it empties
    toy_config.count = getattr(toy_config, 'count', 0) + 1
    # MMEngine keeps one message hub of each name.
    cfg.experiment_name = f'{Path(work_dir).name}_{toy_config.count}'
    return cfg
