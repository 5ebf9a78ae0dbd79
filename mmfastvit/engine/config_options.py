"""Reading a config and merging options over it: what can be wrong with either."""
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import mmengine
from mmengine.config import Config

from mmfastvit.utils.errors import ArgumentError, UserError


def read_config(path: Path) -> Config:
    """Return MMEngine's config of a file.

    Raises:
        ArgumentError: It cannot be read, with the file and the line.
    """
    try:
        return Config.fromfile(str(path))
    except UserError:
        raise
    except Exception as error:  # a config is a program, and fails in every way
        where = _place(path, error)
        message = ' '.join(str(error).split()).rstrip('.')
        raise ArgumentError(
            f'{where} cannot be read as a config: {type(error).__name__}: {message}. '
            'Mend it; configs/ holds some that work.') from error


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Merge dotted keys over a config, in place.

    Where the config says None, keys below make a dict of it;
    ``….init_cfg.checkpoint`` alone names pretrained weights.

    Raises:
        ArgumentError: A key leads into what has no keys.
    """
    for key in options:
        _make_room(cfg, key)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:  # of a dict, where the config has none
        raise ArgumentError(f'The options {options} do not fit the config: {error}'
                            ) from error
    for key in options:
        parent = key.removesuffix('.checkpoint')
        if parent != key and parent.endswith('init_cfg'):
            node = cfg
            for part in parent.split('.'):
                node = node[int(part) if isinstance(node, list) else part]
            node.setdefault('type', 'Pretrained')


def _place(path: Path, error: Exception) -> str:
    """Return the file, with the line that failed; perhaps of one inherited from."""
    libraries = [Path(mmengine.__file__).parent,
                 *(Path(sysconfig.get_path(name)) for name in ('purelib', 'stdlib'))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        # MMEngine may compile the file without its name.
        name = frame.filename if frame.filename.endswith('.py') else str(path)
        if frame.filename != __file__ and not any(
                Path(name).is_relative_to(folder) for folder in libraries):
            return f'{name}, line {frame.lineno},'
    return str(path)


def _make_room(cfg: Config, key: str) -> None:
    *parts, _ = key.split('.')
    node = cfg
    for i, part in enumerate(key.split('.')):
        if isinstance(node, (dict, Config)):
            if part not in node:
                return
            if node[part] is None and i < len(parts):
                node[part] = {}
                return
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            above = '.'.join(parts[:i])
            what = (f'a {type(node).__name__} of {len(node)}'
                    if isinstance(node, (list, tuple)) else f'{node!r}')
            raise ArgumentError(
                f'--cfg-options {key}: {above} is {what} in the config, and has no '
                f'{part!r}. Give it as a whole: {above}=...')
