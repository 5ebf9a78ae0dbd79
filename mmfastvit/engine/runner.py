"""From a config to a trained or tested model, through MMEngine's Runner.

What MMDetection's, MMSegmentation's and MMPretrain's own tools do, for the
configs of all three, and with errors that say what to do.
"""
import copy
import logging
import shutil
import tempfile
import weakref
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.checkpoints.work_dir import find_latest, latest_checkpoint
from mmfastvit.utils.errors import ArgumentError

from .bad_samples import errors_name_pictures
from .channels import check_channels
from .data import check_data
from .distributed import check_launcher, cpu_processes, join_on_cpus, lost_process
from .downloads import drop_replaced_downloads
from .preprocessing import check_preprocessing
from .safe_loaders import safe_loaders
from .safe_runner import SafeRunner


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
    if resume == 'auto':
        resume = find_latest(cfg.work_dir)  # None: the run starts from load_from
        if resume is None:
            print_log(f'{cfg.work_dir} holds no checkpoint to go on from: training '
                      'starts from the beginning.', 'current', logging.WARNING)
    if resume is not None:
        cfg.resume, cfg.load_from = True, latest_checkpoint(resume)
    loaded = cfg.get('load_from') or (
        find_latest(cfg.work_dir) if cfg.get('resume') else None)
    if loaded:
        drop_replaced_downloads(cfg, loaded)
    runner = build_runner(cfg, for_training=True)
    check_preprocessing(cfg)
    with lost_process(cfg.work_dir), errors_name_pictures(runner):
        runner.train()
    return runner


def test(cfg: Config, model: str | nn.Module, keep_log: bool = True
         ) -> dict[str, float]:
    """Evaluate a model with the config's test data and metrics.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        model: A checkpoint of the whole model, or a work directory, whose latest
            is taken; or what has a ``test_step`` in the place of the config's model.
        keep_log: Whether the work directory gets log and config.

    Returns:
        The metrics, by name.

    Raises:
        DataError: The test data is missing, damaged or does not fit the config.
        CheckpointError: The checkpoint cannot be read or does not fit.
    """
    check_data(cfg, 'test')
    cfg.load_from, cfg.resume = None, False  # or the runner would load that, too
    if isinstance(model, nn.Module):
        runner = build_runner(cfg, keep_log, model)
    else:
        runner = build_runner(cfg, keep_log)
        load_weights(runner.model, model)
    check_preprocessing(cfg)
    with errors_name_pictures(runner):
        return runner.test()


# MMEngine's of its own calls, about which nobody else can do anything.
_OWN_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


def build_runner(cfg: Config, keep_log: bool = True, model: nn.Module | None = None,
                 for_training: bool = False) -> Runner:
    """Return MMEngine's runner, reading and writing checkpoints safely.

    MMEngine's own loaders of paths and web addresses fall back to unpickling, and
    skip what does not fit; killed while it writes, it leaves half a file. Models run
    in ``torch.channels_last``, but for necks and heads that a CPU trains, unless the
    config sets ``channels_last = False``; the numbers are the same up to rounding.
    ``compile_backbone = True``, or a dict of arguments for ``torch.compile``, trains
    with a compiled backbone. Each epoch is seeded by its place in the run, so that a
    resumed run equals an unbroken one, unless the config sets ``exact_resume = False``.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        keep_log: Whether the work directory gets log and config; a tool that only
            wants a model and data leaves nothing there.
        model: Takes the place of the config's model, which is not built.
        for_training: Whether the model will be trained.

    Raises:
        ArgumentError: This process was not started by ``cfg.launcher``, the neck
            takes other widths than the backbone gives, or the model cannot run in
            several processes on this machine.
    """
    check_launcher(cfg.launcher)
    check_channels(cfg)
    join_on_cpus(cfg)

    class _Runner(SafeRunner):
        given_model, logs_environment, trains = model, keep_log, for_training

    if not keep_log:
        cfg = copy.deepcopy(cfg)
        cfg.work_dir = tempfile.mkdtemp(prefix='mmfastvit-')
        # MMEngine gives runs of one name, which is the second, one visualiser, and
        # visualisers of one name the folder of the first.
        cfg.experiment_name = Path(cfg.work_dir).name
        if cfg.get('visualizer'):
            cfg.visualizer.name = cfg.experiment_name
    try:
        with cpu_processes(cfg), safe_loaders():
            runner = _Runner.from_cfg(cfg)
    except BaseException:
        if not keep_log:
            shutil.rmtree(cfg.work_dir, ignore_errors=True)
        raise
    if not keep_log:
        weakref.finalize(runner, shutil.rmtree, cfg.work_dir, ignore_errors=True)
    runner.logger.addFilter(
        lambda record: not str(record.msg).startswith(_OWN_WARNINGS))
    return runner
