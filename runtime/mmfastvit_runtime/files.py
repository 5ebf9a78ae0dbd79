"""Files that are whole or not there, and that replace nothing they are made from."""
import os
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from .errors import PredictionError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing goes wrong.

    The file is there, empty, from the beginning: what cannot be written is known
    before the work that it is for.

    Raises:
        PredictionError: It cannot be written there.
    """
    unfinished = path.parent / f'.unfinished-{os.getpid()}-{path.name}'
    try:
        if not path.name or path.is_dir():
            raise IsADirectoryError('it is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.touch()
            yield unfinished
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except BrokenPipeError:  # of the console, not of this file
        raise
    except OSError as error:
        reason = error.strerror or error
        raise PredictionError(f'{path} cannot be written: {reason}. Name another file, '
                              'in a folder that you may write to and that has room.'
                              ) from error


def library_name(path: Path) -> str:
    """Return a file's name for libraries in C++, which want UTF-8.

    Some end the process at what Python makes of other bytes.

    Raises:
        PredictionError: It is none.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError as error:
        raise PredictionError(f'{path}: its name is not in UTF-8; rename the file or '
                              'folder.') from error


def check_targets(targets: Iterable[Path], sources: Iterable[Path]) -> None:
    """Refuse targets that are a source, or each other.

    By whatever name: links, and names that differ in case alone where the disk does
    not tell them apart.

    Raises:
        PredictionError: Something would be lost.
    """
    seen = {key: f'is the source {source},'
            for source in sources for key in _keys(source)}
    for target in targets:
        keys = _keys(target)
        for key in keys:
            if key in seen:
                raise PredictionError(f'{target} {seen[key]} which would be lost: '
                                      'name another place.')
        seen.update(dict.fromkeys(keys, 'is written already,'))


def _keys(path: Path) -> list[Hashable]:
    """Return what a file is known by: its place and, if it is there, its number."""
    place = path.resolve()
    keys: list[Hashable] = [str(place)]
    if _ignores_case(place.parent):
        keys.append(str(place).casefold())
    try:
        status = place.stat()
    except OSError:
        return keys
    return [*keys, (status.st_dev, status.st_ino)]


@lru_cache(maxsize=16)
def _ignores_case(folder: Path) -> bool:
    """Whether a folder, or the first above it that is there, is found in capitals."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return Path(str(folder).swapcase()).samefile(folder) and (
            str(folder).swapcase() != str(folder))
    except OSError:
        return False
