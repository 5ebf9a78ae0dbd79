"""Converters that need other packages than this environment has.

Each has an environment of its own, made when it is first needed. It reads what
:func:`torch.export.save` writes.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmfastvit.utils.errors import ArgumentError

HERE = Path(__file__).parent
LIMIT_S = 3600


@dataclass(frozen=True)
class Converter:
    """One converter.

    Attributes:
        name: Of the format, and of the program beside this file.
        requirements: That pip installs, and nothing that they ask for: the rest is
            seen in this environment, torch above all.
        cost: Of its environment, in words.
    """

    name: str
    requirements: tuple[str, ...]
    cost: str


CONVERTERS = {row.name: row for row in (
    Converter('executorch', (
        'executorch==1.2.0',  # the converter, and what runs its files
        # What it imports of all that it asks for: its tables of operators and of types.
        'torchao==0.18.0', 'flatbuffers', 'ruamel.yaml', 'tabulate'),
        '0.2 GB and half a minute'),
    Converter('litert', (
        'litert-torch==0.10.0',  # from programs of PyTorch to MLIR
        'litert-converter==0.5.0',  # from there to files
        'ai-edge-quantizer==0.10.0',  # those in fewer bits
        # What they import of all that they ask for.
        'jax==0.10.2', 'jaxlib==0.10.2', 'opt_einsum', 'jaxtyping', 'wadler-lindig',
        'multipledispatch', 'torchao==0.18.0', 'xdsl==0.28.0', 'lark', 'absl-py',
        'immutabledict'),
        '0.8 GB and half a minute'),
    )}


def python_of(name: str) -> Path:
    """Return the Python of a converter's environment, which is made if need be.

    Raises:
        ArgumentError: It cannot be made.
    """
    row = CONVERTERS[name]
    home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmfastvit')
    says = (*row.requirements, sys.version, torch.__version__)
    digest = hashlib.sha256('\n'.join(says).encode()).hexdigest()[:8]
    folder = home / f'{name}-{digest}'
    if not folder.exists():
        print(f'{name} is converted in an environment of its own, {folder}: making it '
              f'costs {row.cost}, once.', file=sys.stderr, flush=True)
        unfinished = folder.with_name(f'.{folder.name}-{os.getpid()}')
        try:
            _make(row, unfinished)
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():  # made by another process meanwhile
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / 'bin' / 'python'


def _make(row: Converter, folder: Path) -> None:
    """Make a converter's environment; it works when it is renamed."""
    venv.create(folder, clear=True, with_pip=True)
    done = subprocess.run(
        [folder / 'bin' / 'python', '-m', 'pip', 'install', '-q', '--no-deps',
         *row.requirements], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ['it said nothing'])[-1]
        raise ArgumentError(
            f'The environment for {row.name} cannot be made: pip says {last} It was '
            f'asked to install {" ".join(row.requirements)}.')


def environment() -> dict[str, str]:
    """Return the variables that a converter's Python runs with."""
    return dict(os.environ, PYTHONPATH='',
                MMFASTVIT_BESIDE=sysconfig.get_paths()['purelib'])


def convert(name: str, program: torch.export.ExportedProgram, path: Path,
            *options: str) -> None:
    """Write a program in another format.

    Args:
        name: Of ``CONVERTERS``.
        program: The network.
        path: File to write.
        options: Of the converter's own program.

    Raises:
        ArgumentError: The converter cannot be installed, or wrote nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / 'program.pt2'
        # PyTorch reads no program with bounds of 32 times a symbol. Those of the symbol
        # are there, too, and are enough (executorch in tests/export/test_mobile.py).
        for key in [key for key in program.range_constraints if not key.is_Symbol]:
            del program.range_constraints[key]
        torch.export.save(program, between)
        run_converter(name, 'program', between, path, *options)


def run_converter(name: str, what: str, source: Path, path: Path, *options: str
                  ) -> None:
    """Run a converter's program in its environment.

    Args:
        name: Of ``CONVERTERS``.
        what: The program is ``NAME_WHAT.py`` of this folder.
        source: File to read.
        path: File to write.
        options: Of the program.

    Raises:
        ArgumentError: The converter cannot be installed, or wrote nothing.
    """
    done = subprocess.run(
        [python_of(name), HERE / f'{name}_{what}.py', source, path, *options],
        text=True, errors='replace', timeout=LIMIT_S, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode or not path.is_file():
        last = (done.stdout.strip().splitlines() or ['it said nothing'])[-1]
        raise ArgumentError(f'The converter of {name} wrote no file (exit code '
                            f'{done.returncode}): {last}')


@contextmanager
def saved(pictures: Sequence[np.ndarray]) -> Iterator[str]:
    """Give the name of a folder of arrays, a file each, for a converter's program."""
    with tempfile.TemporaryDirectory() as folder:
        for i, picture in enumerate(pictures):
            np.save(Path(folder) / f'{i:03}.npy', picture)
        yield folder
