"""Files that are whole or not there."""
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend

from .errors import ArgumentError


@contextmanager
def whole_file(path: str, is_folder: bool = False) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing goes wrong.

    The name is in the same folder, which is made if need be, and ends as
    ``path`` does.

    Args:
        path: The file.
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
    except OSError as error:
        raise ArgumentError(f'{path} cannot be written: {error}. Name another '
                            'folder.') from error
    if path.exists() and path.is_dir() != is_folder or not os.access(
            path.parent, os.W_OK):
        raise ArgumentError(
            f'{path} cannot be written: it is a {"file" if is_folder else "folder"}, '
            'or its folder is not yours. Name another.')
    unfinished = path.with_name(f'.unfinished-{os.getpid()}-{path.name}')
    try:
        yield unfinished
        if is_folder and path.exists():
            old = path.with_name(f'.old-{os.getpid()}-{path.name}')
            os.replace(path, old)
            os.replace(unfinished, path)
            shutil.rmtree(old)
        else:
            os.replace(unfinished, path)
    finally:
        if is_folder:
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


class AtomicBackend(LocalBackend):
    """MMEngine's local files, which its checkpoint hook writes with ``put``.

    The hook writes the file again that ``last_checkpoint`` names when its score
    is the best so far: killed then, MMEngine's own backend leaves half of it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, making its folder."""
        with whole_file(filepath) as unfinished:
            unfinished.write_bytes(obj)
