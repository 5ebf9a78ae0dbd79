"""Hooks by which tests of training see into a run, or end it."""
import os
import signal
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Record(Hook):
    """Write each process's losses and last weights to the work directory.

    Attributes:
        weights: All parameters as one vector, after each iteration.
    """

    def __init__(self):
        self.weights = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(torch.cat(
            [p.detach().flatten() for p in runner.model.parameters()]))
        with Path(runner.work_dir, f'losses_{runner.rank}.txt').open('a') as file:
            print(runner.iter, outputs['loss'].item(), file=file)

    def after_train(self, runner):
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        torch.save(model.state_dict(),
                   Path(runner.work_dir, f'weights_{runner.rank}.pth'))


@HOOKS.register_module()
class Kill(Hook):
    """Kill one process before an iteration, by default none."""

    def __init__(self, rank=None, iteration=None):
        self.rank, self.iteration = rank, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.rank, runner.iter) == (self.rank, self.iteration):
            os.kill(os.getpid(), signal.SIGKILL)


def losses(work_dir, rank=0):
    """Return what ``Record`` wrote: losses, by iteration."""
    lines = Path(work_dir, f'losses_{rank}.txt').read_text().splitlines()
    return {int(i): float(loss) for i, loss in map(str.split, lines)}
