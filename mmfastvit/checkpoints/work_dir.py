"""The checkpoints of a work directory, and which of them is the latest."""
import logging
import re
from pathlib import Path, PurePath
from typing import Any

from mmengine.logging import print_log

from mmfastvit.utils.errors import CheckpointError

from .read import load_file

POINTER = 'last_checkpoint'  # MMEngine's name of the file that names the latest
_NUMBERED = re.compile(r'(.*?)(\d+)(\.pth)')
_USUAL = {('epoch_', '.pth'), ('iter_', '.pth')}


def latest_checkpoint(path: str) -> str:
    """Return ``path``, or if it is a work directory its latest checkpoint.

    Raises:
        CheckpointError: The directory holds none, or none that can be read.
    """
    if not Path(path).is_dir():
        return str(path)
    latest = find_latest(path)
    if latest is None:
        raise CheckpointError(f'{path} holds no checkpoint; give a file, or the '
                              'work directory of a training run.')
    return str(latest)


def find_latest(folder: str) -> Path | None:
    """Return the newest checkpoint of a work directory that can be read.

    ``last_checkpoint`` is a hint only: a process may be killed before it writes
    it, and a copied or moved directory names the original. Where pointer, number
    and date of the files do not agree, the time inside the files decides. A
    damaged file is passed over, with a warning.

    Returns:
        The file, or None if there is none.

    Raises:
        CheckpointError: There are some, and none can be read.
    """
    if not Path(folder).is_dir():
        return None
    pointed = _pointed(Path(folder))
    files = numbered_files(folder, pointed)
    if not files and pointed is not None and pointed.is_file():
        # CheckpointHook's out_dir lies elsewhere.
        files = numbered_files(pointed.parent, pointed)
    damaged, times = [], {}
    while files:
        candidates = {max(files, key=_number), max(files, key=_modified)}
        candidates |= {file for file in files if pointed and file.name == pointed.name}
        for file in candidates - times.keys():
            try:
                times[file] = _time(load_file(file))
            except CheckpointError as error:
                print_log(f'This checkpoint is passed over: {error}', 'current',
                          logging.WARNING)
                damaged.append(str(file))
                files.remove(file)
        if candidates <= times.keys():
            return max(candidates, key=lambda file: (times[file], _number(file)))
    if damaged:
        raise CheckpointError(
            f'{folder} holds no checkpoint that can be read: {", ".join(damaged)} '
            'are damaged. Move them away to start from the beginning.')
    return None


def numbered_files(folder: str, like: PurePath | None = None) -> list[Path]:
    """Return the checkpoints that a run saved by epoch or iteration.

    Args:
        folder: Where to look; not in folders in it.
        like: Another checkpoint; files that differ from it by their number
            count, too.
    """
    match = _NUMBERED.fullmatch(like.name) if like else None
    kinds = _USUAL | ({(match[1], match[3])} if match else set())
    found = []
    for file in sorted(Path(folder).iterdir()):
        match = _NUMBERED.fullmatch(file.name)
        if (match and (match[1], match[3]) in kinds or like and file.name == like.name
                ) and file.is_file():
            found.append(file)
    return found


def _pointed(folder: Path) -> Path | None:
    """Return what ``last_checkpoint`` names, wherever that was."""
    try:
        text = (folder / POINTER).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Path(text) if text and '\0' not in text and PurePath(text).name else None


def _number(file: Path) -> int:
    match = _NUMBERED.fullmatch(file.name)
    return int(match[2]) if match else -1


def _modified(file: Path) -> float:
    return file.stat().st_mtime


def _time(content: Any) -> str:
    """Return when a checkpoint was saved, as MMEngine notes it."""
    meta = content.get('meta') if isinstance(content, dict) else None
    time = meta.get('time') if isinstance(meta, dict) else None
    return time if isinstance(time, str) else ''
