"""Configs of all three toolboxes, read."""
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.nested import dicts

from .config_options import merge_options, read_config


def load_config(path: str, cfg_options: dict[str, Any] | None = None,
                work_dir: str | None = None,
                launcher: str = 'none') -> Config:
    """Read a config, ready for ``train`` and ``test``.

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
        ArgumentError: There is no such config, it cannot be read, or it has no room
            for an option.
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(
            f'There is no config {path}; give the path of a Python config, '
            'for example configs/maskrcnn_fastvit_sa12_coco.py.')
    cfg = read_config(path)
    if cfg_options:
        merge_options(cfg, cfg_options)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', path.stem))
    folders = path.resolve().parents
    for _, node in dicts(list(cfg.values())):
        for key in ('data_root', 'ann_file'):
            value = node.get(key)
            if isinstance(value, str) and value and not (
                    key == 'ann_file' and 'data_root' in node):
                node[key] = _find(value, folders)
    return cfg


def _find(name: str, folders: Iterable[Path]) -> str:
    """Return where ``name`` exists, under the current directory or a folder."""
    if Path(name).is_absolute() or '://' in name or Path(name).exists():
        return name
    for folder in folders:
        if (folder / name).exists():
            # A trailing slash is kept: evaluators glue strings to it.
            return str(folder / name) + ('/' if name.endswith('/') else '')
    return name
