"""From a config file to a trained or tested model, through MMEngine's Runner.

What MMDetection's, MMSegmentation's and MMPretrain's own tools do, for the
configs of all three, and with errors that say what to do.
"""
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import (
    CheckpointLoader,
    Runner,
    find_latest_checkpoint,
)

from .checkpoint_file import CheckpointError, load_file, read_state_dict


class DataNotFoundError(FileNotFoundError):
    """A data set is not where its config says."""


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
        FileNotFoundError: There is no such config.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
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
    for node in _dicts(list(cfg.values())):
        for key in ('data_root', 'ann_file'):
            value = node.get(key)
            if isinstance(value, str) and value and not (
                    key == 'ann_file' and 'data_root' in node):
                node[key] = _find(value, folders)
    return cfg


def train(cfg: Config, resume: str | None = None, amp: bool = False,
          auto_scale_lr: bool = False) -> Runner:
    """Train what ``cfg`` describes and return the runner.

    Args:
        cfg: From :func:`load_config`.
        resume: A checkpoint to go on from, or ``'auto'`` for the latest in
            the work directory.
        amp: Train in mixed precision.
        auto_scale_lr: Scale the learning rate from the config's base batch
            size to the actual one.

    Raises:
        DataNotFoundError: The training or validation data is missing.
        CheckpointError: A checkpoint cannot be read or does not fit.
    """
    check_data(cfg, 'train', 'val')
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                'the config has no auto_scale_lr.base_batch_size, the batch '
                'size its learning rate is for; add it, or leave out '
                '--auto-scale-lr.')
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    runner = build_runner(cfg)
    runner.train()
    return runner


def test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Evaluate a checkpoint with the config's test data and metrics.

    Args:
        cfg: From :func:`load_config`.
        checkpoint: A checkpoint of the whole model, or a work directory,
            whose latest is taken.

    Returns:
        The metrics, by name.

    Raises:
        DataNotFoundError: The test data is missing.
        CheckpointError: The checkpoint cannot be read or does not fit.
    """
    check_data(cfg, 'test')
    runner = build_runner(cfg)
    load_weights(runner.model, checkpoint)
    return runner.test()


def build_runner(cfg: Config) -> Runner:
    """Return MMEngine's runner, reading checkpoints safely."""
    CheckpointLoader.register_scheme('', load_from_file, force=True)
    return Runner.from_cfg(cfg)


def load_from_file(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint for MMEngine, whose own loader runs pickled code."""
    return load_file(filename, map_location)


def load_weights(model: torch.nn.Module, checkpoint: str) -> None:
    """Fill a whole model; MMEngine's default would skip what does not fit.

    Args:
        model: A detector, segmentor or classifier.
        checkpoint: A file, or a work directory, whose latest is taken.

    Raises:
        CheckpointError: There is none, or a tensor is missing, unexpected or
            of another shape.
    """
    if Path(checkpoint).is_dir():
        latest = find_latest_checkpoint(checkpoint)
        if latest is None:
            raise CheckpointError(
                f'{checkpoint} holds no checkpoint; give a file, or the work '
                'directory of a training run.')
        checkpoint = latest
    weights = read_state_dict(checkpoint)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        fused = any('.fused.' in name for name in weights)
        deploy = any('.fused.' in name for name in model.state_dict())
        forms = ('train form', 'deploy form')
        hint = (f'The checkpoint is in {forms[fused]}, the model in '
                f'{forms[deploy]}: set model.backbone.deploy={fused}.'
                if fused != deploy else
                'Test a checkpoint with the config it was trained with.')
        raise CheckpointError(
            f'{checkpoint} does not fit the model. {hint} PyTorch says: '
            f'{error}') from error


def check_data(cfg: Config, *splits: str) -> None:
    """Raise :class:`DataNotFoundError` for the first data set not there."""
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset in _dicts(loader.get('dataset') or {}):
            root = Path(dataset.get('data_root') or '')
            wanted = [dataset.get('ann_file') or '',
                      *(dataset.get('data_prefix') or {}).values()]
            wanted = [root / name for name in wanted
                      if isinstance(name, str) and (name or str(root) != '.')]
            missing = [path for path in wanted if not path.exists()]
            if missing:
                raise DataNotFoundError(_describe_missing(
                    split, root, wanted, missing))


def _describe_missing(split, root, wanted, missing) -> str:
    layout = '\n'.join(
        f'  {path}  {"MISSING" if path in missing else "found"}'
        for path in wanted)
    if root.name == 'shapes':
        advice = f'Generate it: python tools/generate_shapes.py {root}'
    else:
        advice = (f'Put the data set there, link it (ln -s /path/to/it {root})'
                  ', or name its folder: --cfg-options '
                  f'{split}_dataloader.dataset.data_root=/path/to/it')
    return (f'The {split} data is not complete. Looked under {Path.cwd()} '
            f'and the folders above the config for\n{layout}\n{advice}')


def _find(name: str, folders) -> str:
    if Path(name).is_absolute() or '://' in name or Path(name).exists():
        return name
    for folder in folders:
        if (folder / name).exists():
            # A trailing slash is kept: evaluators glue strings to it.
            return str(folder / name) + ('/' if name.endswith('/') else '')
    return name


def _dicts(node: Any) -> Iterator[dict]:
    """Yield every dict inside a config."""
    if isinstance(node, dict):
        yield node
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for child in list(node):
        yield from _dicts(child)
