"""Configs of all three toolboxes: read, and held against the data on the disk."""
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfastvit.utils.errors import ArgumentError, DataError


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
