"""What is done of a long run, so that it goes on where it was stopped."""
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import PredictionError
from .files import whole_file

AT_A_TIME = 64  # pictures in a part, which a stopped run may lose
HEADER = 'run.json'


class Journal:
    """The parts of a run, in a folder beside what it writes.

    Args:
        target: The file or folder that the run writes.
        run: What the run is: its model, pictures and settings. A folder of another run
            is refused.

    Attributes:
        folder: ``target`` with ``.parts`` after it.
        done: Names of the pictures that are done.
        failed: Of them, those that could not be done.

    Raises:
        PredictionError: The folder is of another run, or cannot be written.
    """

    def __init__(self, target: Path, run: dict[str, Any]):
        self.folder = target.with_name(f'{target.name}.parts')
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._waiting: list[dict[str, Any]] = []
        header = self.folder / HEADER
        if not self.folder.exists():
            with whole_file(header) as unfinished:
                unfinished.write_text(json.dumps(run), encoding='utf-8')
        elif self._read(header) != run:
            raise PredictionError(
                f'{self.folder} is of another run, of other pictures, another model or '
                'other settings. Delete it to begin anew, or name another file.')
        for part in self._parts():
            for entry in self._read(part):
                self.done.add(entry['name'])
                if entry['failed']:
                    self.failed.add(entry['name'])
        self._count = len(list(self._parts()))

    def add(self, name: str, results: list[dict[str, Any]], failed: bool = False
            ) -> None:
        """Take down what became of one picture."""
        self._waiting.append(dict(name=name, results=results, failed=failed))
        if len(self._waiting) >= AT_A_TIME:
            self.keep()

    def keep(self) -> None:
        """Write what was taken down."""
        if not self._waiting:
            return
        with whole_file(self.folder / f'{self._count:08d}.json') as unfinished:
            unfinished.write_text(json.dumps(self._waiting, allow_nan=False),
                                  encoding='utf-8')
        for entry in self._waiting:
            self.done.add(entry['name'])
            if entry['failed']:
                self.failed.add(entry['name'])
        self._count += 1
        self._waiting = []

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield the results of all pictures, in the order in which they were done."""
        for part in self._parts():
            for entry in self._read(part):
                yield from entry['results']

    def remove(self) -> None:
        """Remove the folder, when what it was for is written."""
        shutil.rmtree(self.folder)

    def _parts(self) -> Iterator[Path]:
        return (path for path in sorted(self.folder.glob('*.json'))
                if path.name != HEADER)

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, RecursionError) as error:
            raise PredictionError(
                f'{self.folder} holds no run that can go on ({path.name}: {error}). '
                'Delete it to begin anew.') from error


def describe_run(model: Path, names: Iterable[str], **settings: Any) -> dict[str, Any]:
    """Return what tells one run from another.

    Args:
        model: Its file.
        names: Of its pictures, in their order.
        settings: That its results depend on.
    """
    pictures = hashlib.sha256()
    for name in names:
        pictures.update(name.encode('utf-8', 'surrogateescape') + b'\0')
    with model.open('rb') as file:
        content = hashlib.file_digest(file, 'sha256') if hasattr(
            hashlib, 'file_digest') else hashlib.sha256(file.read())
    return dict(model=content.hexdigest(), pictures=pictures.hexdigest(), **settings)
