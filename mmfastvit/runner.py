"""From a config file to a trained or tested model, through MMEngine's Runner.

What MMDetection's, MMSegmentation's and MMPretrain's own tools do, for the
configs of all three, and with errors that say what to do.
"""
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.fileio import register_backend
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import (
    CheckpointLoader,
    Runner,
    find_latest_checkpoint,
)
from torch import nn

from .checkpoint import describe_misfit
from .checkpoint_file import load_from_path_or_url, read_state_dict
from .distributed import check_launcher, cpu_processes, lost_process
from .errors import ArgumentError, CheckpointError, DataError
from .files import AtomicBackend
from .memory_format import to_channels_last


def load_config(path: str, cfg_options: dict[str, Any] | None = None,
                work_dir: str | None = None,
                launcher: str = 'none') -> Config:
    """Read a config, ready for :func:`train` and :func:`test`.

    A relative ``data_root`` or annotation file that does not exist under the
    current directory is looked for beside the config and in the folders above
    it, so that a config works from anywhere.

    Args:
        path: A config of any of the three toolboxes.
        cfg_options: Dotted keys to values, merged over it.
        work_dir: Where logs and checkpoints go; by default the config's, or
            ``work_dirs/`` and the config's name.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        ArgumentError: There is no such config.
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(
            f'There is no config {path}; give the path of a Python config, '
            'for example configs/maskrcnn_fastvit_sa12_coco.py.')
    cfg = Config.fromfile(str(path))
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', path.stem))
    folders = path.resolve().parents
    for _, node in _dicts(list(cfg.values())):
        for key in ('data_root', 'ann_file'):
            value = node.get(key)
            if isinstance(value, str) and value and not (
                    key == 'ann_file' and 'data_root' in node):
                node[key] = _find(value, folders)
    return cfg


def train(cfg: Config, resume: str | None = None, amp: str | None = None,
          auto_scale_lr: bool = False) -> Runner:
    """Train what ``cfg`` describes and return the runner.

    Args:
        cfg: From :func:`load_config`.
        resume: A checkpoint, or a work directory, to go on from, or
            ``'auto'`` for the latest in this run's own.
        amp: Train in mixed precision, with ``'float16'`` or ``'bfloat16'``.
        auto_scale_lr: Scale the learning rate from the config's base batch
            size to the actual one.

    Raises:
        DataError: The training or validation data is missing.
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
    runner = build_runner(cfg)
    with lost_process(cfg.work_dir):
        runner.train()
    return runner


def test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Evaluate a checkpoint with the config's test data and metrics.

    Args:
        cfg: From :func:`load_config`.
        checkpoint: A checkpoint of the whole model, or a work directory,
            whose latest is taken, or a file that ``tools/export.py`` wrote.

    Returns:
        The metrics, by name.

    Raises:
        DataError: The test data is missing.
        CheckpointError: The checkpoint cannot be read or does not fit.
    """
    check_data(cfg, 'test')
    cfg.load_from, cfg.resume = None, False  # or the runner would load that, too
    runner = build_runner(cfg)
    if Path(checkpoint).suffix in ('.onnx', '.xml'):
        from .export.evaluation import ExportedPredictor  # needs a runtime
        runner.model = ExportedPredictor(checkpoint, cfg.default_scope)
    else:
        load_weights(runner.model, checkpoint)
    return runner.test()


class _Runner(Runner):
    """MMEngine's runner, with the model in the memory format that is fast."""

    def build_model(self, model: Any) -> nn.Module:
        model = super().build_model(model)
        if not self.distributed and get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # torch 2.1 has it for GPUs only
        if self.cfg.get('channels_last', True):
            to_channels_last(model)  # before DistributedDataParallel notes layouts
        return model


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
        return _Runner.from_cfg(cfg)


def latest_checkpoint(path: str) -> str:
    """Return ``path``, or if it is a work directory its latest checkpoint.

    Raises:
        CheckpointError: The directory holds none.
    """
    if not Path(path).is_dir():
        return str(path)
    latest = find_latest_checkpoint(path)
    if latest and not Path(latest).exists():  # the directory was moved
        latest = str(Path(path, Path(latest).name))
    if not latest:
        raise CheckpointError(f'{path} holds no checkpoint; give a file, or the '
                              'work directory of a training run.')
    return latest


def load_weights(model: nn.Module, checkpoint: str) -> None:
    """Fill a whole model; MMEngine's default would skip what does not fit.

    Args:
        model: A detector, segmentor or classifier, wrapped or not.
        checkpoint: A file, or a work directory, whose latest is taken.

    Raises:
        CheckpointError: There is none, or a tensor is missing, unexpected or
            of another shape; the model then is unchanged.
    """
    checkpoint = latest_checkpoint(checkpoint)
    weights = read_state_dict(checkpoint)
    if is_model_wrapper(model):
        model = model.module
    expected = model.state_dict()
    problems = describe_misfit(expected, weights)
    if problems:
        forms = [any('.fused.' in name for name in state)
                 for state in (weights, expected)]
        hint = 'Use the config that the checkpoint was trained with.'
        if forms == [True, False]:
            hint = ('The checkpoint is in deploy form, the model in train form: '
                    'use the config that was written beside it.')
        elif forms == [False, True]:
            hint = ('The checkpoint is in train form, the model in deploy form: '
                    'use the config it was trained with, or re-parameterize it.')
        raise CheckpointError(f'{checkpoint} does not fit the model. {hint} '
                              f'{problems}.')
    model.load_state_dict(weights)


def check_data(cfg: Config, *splits: str) -> None:
    """Raise :class:`DataError` for the first data set that is not there.

    Only what lies on the local disk, and is not downloaded by the data set
    itself, is looked for.
    """
    for split in splits:
        for key in (f'{split}_dataloader', f'{split}_evaluator'):
            for path, node in _dicts(cfg.get(key), key):
                _check_node(split, path, node)


def _check_node(split: str, key: str, node: dict) -> None:
    root = node.get('data_root') or ''
    names = _names(node.get('ann_file'))
    if key.endswith('.dataset') or 'data_root' in node:
        names += _names(node.get('data_prefix'))
    if (not isinstance(root, str) or node.get('backend_args')
            or node.get('download')):
        return
    wanted = [str(Path(root, name)) for name in names]
    if '://' in root or any('://' in name for name in names):
        return
    missing = [path for path in wanted if not Path(path).exists()]
    if not missing:
        return
    layout = '\n'.join(f'  {path}  {"MISSING" if path in missing else "found"}'
                       for path in wanted)
    if Path(root).name == 'shapes':
        advice = f'Generate it: python tools/generate_shapes.py {root}'
    else:
        setting = f'{key}.{"data_root" if root else "ann_file"}'
        advice = ('Put or link the data set there, or name its place: '
                  f'--cfg-options {setting}=/path/to/it')
    raise DataError(f'The {split} data is not complete. Looked under {Path.cwd()} '
                    f'and the folders above the config for\n{layout}\n{advice}')


def _names(value: Any) -> list[str]:
    """Return the file names in a setting: a string, or several."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        value = [value]
    return [name for name in value if isinstance(name, str) and name]


def _find(name: str, folders: Iterable[Path]) -> str:
    """Return where ``name`` exists, under the current directory or a folder."""
    if Path(name).is_absolute() or '://' in name or Path(name).exists():
        return name
    for folder in folders:
        if (folder / name).exists():
            # A trailing slash is kept: evaluators glue strings to it.
            return str(folder / name) + ('/' if name.endswith('/') else '')
    return name


def _dicts(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield (dotted key, dict) for every dict inside a config."""
    if isinstance(node, dict):
        yield path, node
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(enumerate(node))
    else:
        return
    for key, child in items:
        yield from _dicts(child, f'{path}.{key}' if path else str(key))
