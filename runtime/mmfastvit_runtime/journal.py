"""What is done of a long run, so that it goes on where it was stopped."""
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import PredictionError
from .files import whole_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

AT_A_TIME = 64  # pictures in a part, which a stopped run may lose
HEADER, LOCK = 'run.json', 'lock'


class Journal:
    """The parts of a run, in a folder beside what it writes.

    A picture that could not be done is tried again when the run goes on.

    Args:
        target: The file or folder that the run writes.
        run: What the run is: its model, pictures and settings. A folder of another run
            is refused.

    Attributes:
        folder: ``target`` with ``.parts`` after it.
        done: Names of the pictures that are done.

    Raises:
        PredictionError: The folder is of another run, another process is at work in it,
            or it cannot be written.
    """

    def __init__(self, target: Path, run: dict[str, Any]):
        target = target.resolve()
        if not target.name:
            raise PredictionError(f'{target} is no place for results: name a file or a '
                                  'folder in it.')
        self.folder = target.with_name(f'{target.name}.parts')
        self._waiting: list[dict[str, Any]] = []
        header = self.folder / HEADER
        if not header.exists() and not list(self._parts()):
            with whole_file(header) as unfinished:
                unfinished.write_text(json.dumps(run), encoding='utf-8')
        self._lock()
        if self._read(header) != run:
            raise PredictionError(
                f'{self.folder} is of another run, of other pictures, another model or '
                'other settings. Delete it to begin anew, or name another file.')
        parts = list(self._parts())
        self._count = 1 + max((int(part.stem) for part in parts), default=-1)
        self.done = {entry['name'] for part in parts for entry in self._read(part)
                     if not entry['failed']}

    def add(self, name: str, results: list[dict[str, Any]], failed: bool = False
            ) -> None:
        """Take down what became of one picture."""
        self._waiting.append(dict(name=name, results=results, failed=failed))
        if len(self._waiting) >= AT_A_TIME:
            self.keep()

    def keep(self) -> None:
        """Write what was taken down.

        What an interrupt loses is done again; nothing is written twice.
        """
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        part = self.folder / f'{self._count:08d}.json'
        self._count += 1
        with whole_file(part) as unfinished:
            unfinished.write_text(json.dumps(entries, allow_nan=False),
                                  encoding='utf-8')
        self.done.update(entry['name'] for entry in entries if not entry['failed'])

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield the results of all pictures, in the order in which they were done."""
        for part in self._parts():
            for entry in self._read(part):
                yield from entry['results']

    def remove(self) -> None:
        """Remove the folder, when what it was for is written."""
        self._locked.close()
        shutil.rmtree(self.folder)

    def _lock(self) -> None:
        """Keep other processes out, until this one ends in whatever way."""
        try:
            self._locked = (self.folder / LOCK).open('w')
            if fcntl is not None:
                fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PredictionError(f'Another process is at work in {self.folder}: wait '
                                  'for it, or name another file.') from error
        except OSError as error:
            raise PredictionError(f'{self.folder} cannot be written: {error}.'
                                  ) from error

    def _parts(self) -> Iterator[Path]:
        return iter(sorted(self.folder.glob('[0-9]*.json')))

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, RecursionError) as error:
            raise PredictionError(
                f'{self.folder} holds no run that can go on ({path.name}: {error}). '
                'Delete it to begin anew.') from error


def describe_run(model: Iterable[Path], names: Iterable[str], **settings: Any
                 ) -> dict[str, Any]:
    """Return what tells one run from another.

    Args:
        model: Its files, of which some may not be there.
        names: Of its pictures, in their order.
        settings: That its results depend on.
    """
    pictures, content = hashlib.sha256(), hashlib.sha256()
    for name in names:
        pictures.update(name.encode('utf-8', 'surrogateescape') + b'\0')
    for path in model:
        if path.is_file():
            with path.open('rb') as file:
                while block := file.read(2**20):
                    content.update(block)
    return dict(model=content.hexdigest(), pictures=pictures.hexdigest(), **settings)
