"""From a config to a trained or tested model, through MMEngine's Runner.

What MMDetection's, MMSegmentation's and MMPretrain's own tools do, for the
configs of all three, and with errors that say what to do.
"""
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.fileio import register_backend
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import CheckpointLoader, Runner, find_latest_checkpoint
from torch import nn
from torch.utils.data import DataLoader

from mmfastvit.checkpoints.load import load_weights
from mmfastvit.checkpoints.read import latest_checkpoint, load_from_path_or_url
from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.files import AtomicBackend

from .bad_samples import errors_name_pictures, name_pictures
from .data import check_data
from .distributed import check_launcher, cpu_processes, lost_process
from .downloads import drop_replaced_downloads
from .memory_format import to_channels_last


def train(cfg: Config, resume: str | None = None, amp: str | None = None,
          auto_scale_lr: bool = False) -> Runner:
    """Train what ``cfg`` describes and return the runner.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        resume: A checkpoint, or a work directory, to go on from, or
            ``'auto'`` for the latest in this run's own.
        amp: Train in mixed precision, with ``'float16'`` or ``'bfloat16'``.
        auto_scale_lr: Scale the learning rate from the config's base batch
            size to the actual one.

    Raises:
        DataError: The training or validation data is missing, damaged or does not
            fit the config.
        CheckpointError: A checkpoint cannot be read or does not fit.
        ArgumentError: What is asked for does not run on this machine.
        ProcessError: Another process of a distributed run is gone.
    """
    check_data(cfg, 'train', 'val')
    if amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=amp)
        # bfloat16 reaches as far as float32: no gradient needs lifting.
        cfg.optim_wrapper.setdefault(
            'loss_scale', 'dynamic' if amp == 'float16' else 1.)
    if (cfg.optim_wrapper.get('type') == 'AmpOptimWrapper'
            and get_device() in ('cpu', 'mps')):
        raise ArgumentError(
            'mixed precision (optim_wrapper.type=AmpOptimWrapper) needs a GPU, and '
            f'PyTorch finds only the device {get_device()!r}; leave out --amp, or '
            "set optim_wrapper.type=OptimWrapper, to train in float32.")
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ArgumentError(
                'the config has no auto_scale_lr.base_batch_size, the batch '
                'size its learning rate is for; add it, or leave out '
                '--auto-scale-lr.')
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else latest_checkpoint(resume)
    loaded = cfg.get('load_from') or (
        find_latest_checkpoint(cfg.work_dir) if cfg.get('resume') else None)
    if loaded:
        drop_replaced_downloads(cfg, loaded)
    runner = build_runner(cfg)
    with lost_process(cfg.work_dir), errors_name_pictures(runner):
        runner.train()
    return runner


def test(cfg: Config, model: str | nn.Module) -> dict[str, float]:
    """Evaluate a model with the config's test data and metrics.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        model: A checkpoint of the whole model, or a work directory, whose latest
            is taken; or what has a ``test_step`` in the place of the config's model.

    Returns:
        The metrics, by name.

    Raises:
        DataError: The test data is missing, damaged or does not fit the config.
        CheckpointError: The checkpoint cannot be read or does not fit.
    """
    check_data(cfg, 'test')
    cfg.load_from, cfg.resume = None, False  # or the runner would load that, too
    runner = build_runner(cfg)
    if isinstance(model, nn.Module):
        runner.model = model
    else:
        load_weights(runner.model, model)
    with errors_name_pictures(runner):
        return runner.test()


# MMEngine's of its own calls, about which nobody else can do anything.
_OWN_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


class _Runner(Runner):
    """MMEngine's runner, fast memory formats and errors that name pictures added."""

    def build_model(self, model: Any) -> nn.Module:
        model = super().build_model(model)
        if not self.distributed and get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # torch 2.1 has it for GPUs only
        if self.cfg.get('channels_last', True):
            to_channels_last(model)  # before DistributedDataParallel notes layouts
        return model

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        name_pictures(loader.dataset)
        return loader


def build_runner(cfg: Config) -> Runner:
    """Return MMEngine's runner, reading and writing checkpoints safely.

    MMEngine's own loaders of paths and web addresses fall back to unpickling;
    killed while it writes, it leaves half a file. Models run in
    ``torch.channels_last`` unless the config sets ``channels_last = False``; the
    numbers are the same up to rounding.

    Raises:
        ArgumentError: This process was not started by ``cfg.launcher``, or the
            model cannot run in several processes on this machine.
    """
    check_launcher(cfg.launcher)
    for prefix in ('', 'http://', 'https://'):
        CheckpointLoader.register_scheme(prefix, load_from_path_or_url, force=True)
    register_backend('local', AtomicBackend, force=True, prefixes='')
    with cpu_processes(cfg):
        runner = _Runner.from_cfg(cfg)
    runner.logger.addFilter(
        lambda record: not str(record.msg).startswith(_OWN_WARNINGS))
    return runner
