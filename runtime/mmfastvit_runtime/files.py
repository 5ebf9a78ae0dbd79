"""Files that are whole or not there, and that replace nothing they are made from."""
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import PredictionError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing goes wrong.

    Raises:
        PredictionError: It cannot be written there.
    """
    unfinished = path.parent / f'.unfinished-{os.getpid()}-{path.name}'
    try:
        if not path.name or path.is_dir():
            raise IsADirectoryError('it is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise PredictionError(f'{path} cannot be written: {error}. Name another file, '
                              'in a folder you may write to.') from error


def check_targets(targets: Iterable[Path], sources: Iterable[Path]) -> None:
    """Refuse targets that are a source, or each other.

    Raises:
        PredictionError: Something would be lost.
    """
    seen = {source.resolve(): 'is the source' for source in sources}
    for target in targets:
        if target.resolve() in seen:
            raise PredictionError(f'{target} {seen[target.resolve()]}, which would be '
                                  'lost: name another place.')
        seen[target.resolve()] = 'is written already'
