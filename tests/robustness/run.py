"""Inputs one after the other, each in a process that may hang, swell or die.

Importing torch takes seconds, so that this process imports all, and forks for each
input: a child's memory, registries and faults are its own.
"""
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import psutil
import torch

from .case import CANARY, CRASH, EXECUTED, HANG, MEMORY, Kind
from .judge import judge

_LOOK_S = 0.005
_KILLED = f'signal {signal.SIGKILL:d}'
_WAITING = 8  # times the processor's seconds, on a clock: other programs run, too


@dataclass(frozen=True)
class Result:
    """What came of an input.

    Attributes:
        index: Of the input; with its kind and the seed it is made again.
        damage: What was done to the good input.
        outcome: One of ``case.OUTCOMES``.
        words: Of the refusal or error.
    """

    index: int
    damage: str
    outcome: str
    words: str


class BrokenAdversary(Exception):
    """An input could not be made: this says nothing about the project."""


def run(kind: Kind, name: str, seed: int, indices: range, folder: Path,
        keep: bool = False) -> Iterator[Result]:
    """Yield what comes of each input.

    Args:
        kind: Makes the inputs.
        name: Of the kind.
        seed: Other inputs for another one.
        indices: Of the inputs.
        folder: Empty, for good and bad inputs.
        keep: Leave the inputs there.

    Raises:
        BrokenAdversary: An input cannot be made.
    """
    gc.collect()  # what a child would free would hide what it takes
    torch.set_num_threads(1)  # threads would not survive a fork
    cv2.setNumThreads(0)
    good = folder / 'good'
    good.mkdir(parents=True)
    _prepare(kind, good)
    for index in indices:
        damage = kind.damages[index % len(kind.damages)]
        own = folder / f'{index:05d}'

        def child(report, index=index, damage=damage, own=own):
            random = Random(f'{name} {seed} {index}')
            torch.manual_seed(random.getrandbits(32))
            case = damage(random, own, good)
            rss = psutil.Process().memory_info().rss  # seen from here: it may be brief
            report(f'ready {rss} {time.process_time()}')
            report(json.dumps(judge(case, own)))

        for _ in range(3):
            own.mkdir()
            outcome, words = _fork(child, own, kind.seconds, kind.megabytes)
            if words != _KILLED:
                break
            shutil.rmtree(own)  # the machine was out of memory, maybe by others
        if (own / CANARY).exists():
            outcome = EXECUTED
        yield Result(index, damage.__name__.replace('_', ' '), outcome, words)
        if not keep:
            shutil.rmtree(own, ignore_errors=True)


def _prepare(kind: Kind, good: Path) -> None:
    """Write the good inputs, and import here what that took, for all children."""
    modules = good.with_name('modules.json')

    def child(report):
        kind.prepare(good)
        modules.write_text(json.dumps(list(sys.modules)))

    outcome, words = _fork(child, good, 0, 0)
    if outcome:
        raise BrokenAdversary(words)
    for module in json.loads(modules.read_text()):
        with suppress(Exception):  # some exist only in a run
            importlib.import_module(module)


def _fork(child, folder: Path, seconds: float, megabytes: float) -> tuple[str, str]:
    """Run ``child`` in a process of its own, and return what it reports.

    Bounds count from the moment when it reports that its input is ready.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _become(child, folder, write)
    os.close(write)
    os.set_blocking(read, False)
    process, text, bounds = psutil.Process(pid), b'', None
    try:
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            text += _read(read)
            if bounds is None and text.startswith(b'ready ') and b'\n' in text:
                rss, cpu = map(float, text.split(b'\n')[0].split()[1:])
                bounds = _Bounds(process, cpu + seconds, rss + megabytes * 1e6,
                                 time.monotonic() + _WAITING * seconds)
            if ended:
                return _outcome(text, status, bounds and bounds.swollen(
                    usage.ru_maxrss * 1024))
            exceeded = bounds and bounds.exceeded()
            if exceeded:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return exceeded
            time.sleep(_LOOK_S)
    finally:
        os.close(read)
        with suppress(ProcessLookupError):  # what it has started itself
            os.killpg(pid, signal.SIGKILL)


def _become(child, folder: Path, write: int) -> None:
    """Be the child; never return."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        silent = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):  # the judge keeps what an input prints
            os.dup2(silent, descriptor)
        with open('/proc/self/oom_score_adj', 'w') as file:
            file.write('100')  # should it swell too fast, it is the one to die
        child(lambda text: os.write(write, f'{text}\n'.encode()))
        code = 0
    except BaseException:
        os.write(write, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**20)
    except BlockingIOError:
        return b''


@dataclass(frozen=True)
class _Bounds:
    """What a process may have used: the processor's time, bytes, and a clock's."""

    process: psutil.Process
    cpu: float
    size: float
    clock: float

    def swollen(self, size: float) -> bool:
        return size > self.size

    def exceeded(self) -> tuple[str, str] | None:
        try:
            if self.swollen(self.process.memory_info().rss):
                return MEMORY, f'more than {self.size / 1e9:.1f} GB'
            cpu = sum(self.process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            return None
        if cpu > self.cpu or time.monotonic() > self.clock:
            return HANG, f'{cpu:.0f} s of the processor'
        return None


def _outcome(text: bytes, status: int, swollen: bool | None) -> tuple[str, str]:
    lines = text.decode(errors='replace').splitlines()
    if os.WIFSIGNALED(status) and (swollen is not None
                                   or os.WTERMSIG(status) == signal.SIGKILL):
        return CRASH, f'signal {os.WTERMSIG(status)}'
    if os.waitstatus_to_exitcode(status):
        raise BrokenAdversary(text.decode(errors='replace') or f'status {status}')
    if swollen is None:  # the good inputs
        return '', ''
    if len(lines) < 2:
        return CRASH, f'it left by itself, status {status}'
    return (MEMORY, 'at its height') if swollen else tuple(json.loads(lines[1]))


def write_results(results: Iterator[Result], path: Path) -> list[Result]:
    """Collect results, a dot for each, and write them as JSON lines."""
    found = []
    with path.open('w') as file:
        for result in results:
            found.append(result)
            file.write(json.dumps(vars(result)) + '\n')
            file.flush()
            print('.' if len(found) % 50 else f'. {len(found)}\n', end='',
                  file=sys.stderr, flush=True)
    return found
