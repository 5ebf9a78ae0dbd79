"""In the process of one input: run it, and say what came of it."""
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from mmfastvit.utils.errors import UserError
from mmfastvit_runtime import PredictionError

from .case import (
    CANARY,
    EQUAL,
    EXECUTED,
    POOR,
    REFUSED,
    SILENT,
    TRACEBACK,
    UNTOLD,
    Case,
)

_LONGEST = 3000  # characters of a paragraph
_DEVICES = ('/dev/', '/proc/self/')
_CHANGES = ('os.remove', 'os.rename', 'os.rmdir', 'shutil.rmtree', 'os.truncate',
            'shutil.move', 'os.link', 'os.symlink', 'os.chmod')
_CALLS = ('os.system', 'subprocess.Popen', 'os.exec', 'os.posix_spawn', 'os.spawn',
          'socket.connect', 'webbrowser.open', 'pty.spawn', 'import',
          'urllib.Request', 'ctypes.dlopen')


def judge(case: Case, folder: Path) -> tuple[str, str]:
    """Return what came of an input, and the words that go with it."""
    with _output(folder / 'output.txt'), _watch(folder) as executed:
        outcome, words = _run(case, folder)
    if executed:
        outcome, words = EXECUTED, executed[0]
    return outcome, f'[{case.about}] {words}' if case.about else words


def _run(case: Case, folder: Path) -> tuple[str, str]:
    try:
        result = case.run()
    except (UserError, PredictionError) as error:
        return _refusal(case, f'error: {error}')
    except SystemExit as error:
        if isinstance(error.code, str):
            return _refusal(case, error.code)
        printed = output(folder)
        if 'Traceback (most recent call last)' in printed:
            return TRACEBACK, printed[-_LONGEST:]
        if error.code:  # argparse writes for itself
            return _refusal(case, printed[printed.rfind('error:'):])
        result = None
    except BaseException as error:  # what a user would see as frames
        return TRACEBACK, _shorten(error)
    if case.accepts(result):
        return EQUAL, ''
    return UNTOLD if case.untold else SILENT, output(folder)[-300:]


def _refusal(case: Case, text: str) -> tuple[str, str]:
    text = text.strip()
    faults = {
        'it advises weights_only': 'weights_only' in text,
        'it is no paragraph': '\n\n' in text or 'Traceback' in text
                              or not text.startswith('error: ')
                              or len(text) > _LONGEST,
        f'it names none of {list(case.names)}': bool(case.names) and not any(
            name in text for name in case.names),
        'there is no reason to refuse it': not case.refusable,
    }
    if not case.kept():
        return SILENT, f'refused, but something has changed: {text}'
    found = [fault for fault, there in faults.items() if there]
    return (POOR, f'{"; ".join(found)}: {text}') if found else (REFUSED, text)


def _shorten(error: BaseException) -> str:
    """Return the error, and the last frames of ours and of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if 'mmfastvit' in frame.filename]
    places = dict.fromkeys(f'{Path(frame.filename).name}:{frame.lineno}'
                           for frame in (*ours[-2:], *frames[-1:]))
    return f'{type(error).__name__}: {str(error)[:300]} ({", ".join(places)})'


def output(folder: Path) -> str:
    """Return what an input has printed so far."""
    sys.stdout.flush()
    sys.stderr.flush()
    return (folder / 'output.txt').read_text(errors='replace')


@contextmanager
def _output(path: Path) -> Iterator[None]:
    """Let all that is printed, libraries in C included, go to a file."""
    with path.open('wb', buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        yield


@contextmanager
def _watch(folder: Path) -> Iterator[list[str]]:
    """Yield what is executed that no checkpoint, picture or config may ask for."""
    found, watching = [], True
    allowed = (str(folder), os.environ['HOME'], *_DEVICES)  # HOME: libraries' caches

    def notice(event: str, arguments: tuple) -> None:
        nonlocal watching
        if not watching:
            return
        watching = False  # what this function does itself
        try:
            foreign = (
                event in (*_CALLS, 'open') and CANARY in repr(arguments)
                or event == 'exec' and _mentions_canary(arguments[0])
                or event == 'open' and _writes(arguments) and not _inside(
                    arguments[0], allowed)
                or event in _CHANGES and not _inside(arguments[0], allowed))
            if foreign:
                found.append(f'{event} {arguments!r}'[:300])
        finally:
            watching = True

    sys.addaudithook(notice)
    try:
        yield found
    finally:
        watching = False  # a hook cannot be removed


def _mentions_canary(code: Any) -> bool:
    return isinstance(code, CodeType) and any(
        isinstance(part, (str, bytes)) and CANARY in str(part)
        or _mentions_canary(part) for part in (*code.co_consts, *code.co_names))


def _writes(arguments: tuple) -> bool:
    path, mode, flags = arguments
    return not isinstance(path, int) and bool(
        set(mode or '') & set('wax+')
        or isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))


def _inside(path: Any, allowed: tuple[str, ...]) -> bool:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return True
    return os.path.abspath(os.fsdecode(path)).startswith(allowed)
