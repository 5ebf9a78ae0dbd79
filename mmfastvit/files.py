"""Files that are whole or not there."""
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend

from .errors import ArgumentError


@contextmanager
def whole_file(path: str, is_folder: bool = False) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing goes wrong.

    It is ``path``'s, in a new folder of the same file system. What else is written
    into that folder goes with it.

    Args:
        path: The file; its folder is made if need be.
        is_folder: Whether it is a folder, which replaces the one that is there.

    Raises:
        ArgumentError: It cannot be written.

    Example:
        >>> with whole_file('deploy.pth') as unfinished:
        ...     torch.save(model.state_dict(), unfinished)
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix='.unfinished-', dir=path.parent)
    except OSError as error:
        raise ArgumentError(f'{path} cannot be written: {error}. Name another '
                            'folder.') from error
    try:
        if path.exists() and path.is_dir() != is_folder:
            raise ArgumentError(f'{path} cannot be written: it is a '
                                f'{"file" if is_folder else "folder"}. Name another.')
        unfinished = Path(folder) / path.name
        yield unfinished
        # The one that is named last: it is what others look for.
        for part in sorted(unfinished.parent.iterdir(), key=unfinished.__eq__):
            _replace(part, path.with_name(part.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, and in folders in it."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():  # the old one goes into the folder that is removed
        os.replace(target, source.with_name(f'.old-{target.name}'))
    os.replace(source, target)


class AtomicBackend(LocalBackend):
    """MMEngine's local files, which its checkpoint hook writes with ``put``.

    The hook writes the file again that ``last_checkpoint`` names when its score
    is the best so far: killed then, MMEngine's own backend leaves half of it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, making its folder."""
        with whole_file(filepath) as unfinished:
            unfinished.write_bytes(obj)
