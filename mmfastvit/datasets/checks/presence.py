"""Whether the files and folders are there that a config names."""
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmfastvit.utils.errors import MissingDataError


def check_presence(split: str, key: str, node: dict) -> None:
    """Raise :class:`MissingDataError` if a file or folder of this setting is missing.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        key: Of the setting, dotted.
        node: The setting: of a data set, an evaluator or anything else.
    """
    if is_remote(node):
        return
    root = node.get('data_root') or ''
    names = _names(node.get('ann_file'))
    if key.endswith('.dataset') or 'data_root' in node:
        names += _names(node.get('data_prefix'))
    check_paths(split, key, root, [str(Path(root, name)) for name in names])


def check_paths(split: str, key: str, root: str, wanted: list[str]) -> None:
    """Raise :class:`MissingDataError` if one of these paths does not exist."""
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
    raise MissingDataError(
        f'The {split} data is not complete. Looked under {Path.cwd()} and the folders '
        f'above the config for\n{layout}\n{advice}')


def check_pictures(key: str, source: str, paths: Iterable[str]) -> None:
    """Raise :class:`MissingDataError` if pictures are missing.

    Each folder is listed once, which is quicker than to ask for each file.

    Args:
        key: Of the data set.
        source: The file that names the pictures.
        paths: Of all pictures.
    """
    listed: dict[str, set[str]] = {}
    missing, count = [], 0
    for path in paths:
        count += 1
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                listed[folder] = set(os.listdir(folder or '.'))
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            missing.append(path)
    if missing:
        raise MissingDataError(
            f'{source}: {len(missing)} of its {count} pictures are not there, the '
            f'first is {missing[0]}. Put them there, take them out of the file, or '
            f'name their folder in {key}.data_prefix.')


def is_remote(node: dict) -> bool:
    """Return whether the data is not on a local disk, or downloads itself."""
    places = [node.get('data_root') or '', *_names(node.get('ann_file')),
              *_names(node.get('data_prefix'))]
    return bool(node.get('backend_args') or node.get('download')
                or not isinstance(places[0], str)
                or any('://' in place for place in places))


def _names(value: Any) -> list[str]:
    """Return the file names in a setting: a string, or several."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        value = [value]
    return [name for name in value if isinstance(name, str) and name]
