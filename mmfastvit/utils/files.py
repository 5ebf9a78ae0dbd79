"""Files that are whole or not there, and that replace nothing they are made from."""
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from mmengine.fileio import LocalBackend

from .errors import ArgumentError

_HOST = re.sub(r'\W', '_', socket.gethostname())
_DAY_S = 24 * 60 * 60


@contextmanager
def whole_file(path: str, is_folder: bool = False,
               sources: Iterable[str | None] = ()) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing goes wrong.

    The name is that of ``path``, in a new hidden folder beside it. What else is
    written into that folder moves with it.

    Args:
        path: The file; its folder is made if need be.
        is_folder: Whether it is a folder, which replaces the one that is there.
        sources: What it is made from, which neither it nor what moves with it may
            replace; None stands for nothing.

    Raises:
        ArgumentError: It cannot be written, or would replace a source.

    Example:
        >>> with whole_file('deploy.pth') as unfinished:
        ...     torch.save(model.state_dict(), unfinished)
    """
    path, sources = Path(path), list(sources)
    if sources:
        check_targets([path], sources)
    # The name tells the writer, for clear_unfinished().
    folder = path.parent / f'.unfinished-{os.getpid()}-{uuid4().hex}-{_HOST}'
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ArgumentError(f'{path} cannot be written: {error}. Name another '
                            'folder.') from error
    try:
        _check(path, is_folder)
        unfinished = folder / path.name
        yield unfinished
        parts = [part for part in folder.iterdir() if part != unfinished]
        if sources:
            check_targets([path.with_name(part.name) for part in parts], sources)
        for part in parts:
            _check(path.with_name(part.name), part.is_dir())
        for part in (*parts, unfinished):  # that which others look for comes last
            _replace(part, path.with_name(part.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_unfinished(folder: str) -> list[Path]:
    """Remove what killed processes left of ``whole_file`` in a folder.

    What a living process of this machine writes stays, and for a day what comes
    from another machine, or from a version that noted no writer.

    Returns:
        What was removed.
    """
    removed = []
    for path in Path(folder).glob('.unfinished-*'):
        writer = re.fullmatch(r'\.unfinished-(\d+)-[0-9a-f]{32}-(.*)', path.name)
        try:
            alive = (_is_alive(int(writer[1])) if writer and writer[2] == _HOST
                     else time.time() - path.stat().st_mtime < _DAY_S)
        except OSError:  # another process was faster
            continue
        if not alive and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def check_targets(targets: Iterable[str], sources: Iterable[str | None] = ()) -> None:
    """Refuse files to write that are a source, or each other, or cannot be written.

    To be called before work starts, which would be in vain.

    Args:
        targets: Files, or folders, to write.
        sources: What they are made from; None stands for nothing, and an address
            for nothing on the disk.

    Raises:
        ArgumentError: Something would be lost.
    """
    from mmfastvit_runtime.errors import PredictionError  # here, as it needs OpenCV
    from mmfastvit_runtime.files import check_targets as check
    targets = [Path(target) for target in targets]
    try:
        check(targets, [Path(source) for source in sources
                        if source is not None and '://' not in str(source)])
    except PredictionError as error:
        raise ArgumentError(str(error)) from error
    for target in targets:
        folder = target.parent
        while not os.path.exists(folder) and folder != folder.parent:
            folder = folder.parent  # the first that is there is where one is made
        if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
            raise ArgumentError(f'{target} cannot be written: {folder} is no folder '
                                'that you may write to. Name another place.')


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2 ** 20):
            digest.update(block)
    return digest.hexdigest()


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, and in folders in it."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def _check(path: Path, is_folder: bool) -> None:
    if path.exists() and path.is_dir() != is_folder:
        raise ArgumentError(f'{path} cannot be written: it is a '
                            f'{"file" if is_folder else "folder"}. Name another.')


def _replace(source: Path, target: Path) -> None:
    if not target.is_dir():
        os.replace(source, target)
        return
    old = source.with_name(f'.old-{target.name}')  # it goes with its folder
    os.replace(target, old)
    try:
        os.replace(source, target)
    except BaseException:
        os.replace(old, target)
        raise


class AtomicBackend(LocalBackend):
    """MMEngine's local files, which its checkpoint hook writes with ``put``.

    The hook writes the file again that ``last_checkpoint`` names when its score
    is the best so far: killed then, MMEngine's own backend leaves half of it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, making its folder."""
        with whole_file(filepath) as unfinished:
            unfinished.write_bytes(obj)
