"""A contestant in a process of its own, as its user runs it.

In one process, what one contestant has freed serves the next: the system does not
have to find, and to clear, memory for its maps, which can take longer than to
compute them.
"""
import os
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context, parent_process
from threading import Thread

import torch

from mmfastvit.utils.errors import ProcessError, UserError
from mmfastvit.utils.timing import Turn

from .build import build
from .contestants import Case, Contestant, Entry

_contestant: Contestant  # the one of this process


class OwnProcess:
    """All methods of a :class:`Contestant`, which run elsewhere.

    Raises:
        ArgumentError: The contestant cannot be built.
        DataError: A config's data is missing.
        ProcessError: Its process is gone.
    """

    def __init__(self, case: Case, entry: Entry):
        self.name = entry.name
        # Its one worker runs everything in its main thread, where memory is
        # managed as in a program of one's own.
        self._pool = ProcessPoolExecutor(1, get_context('spawn'), _end_with_parent)
        try:
            self._run(_build, case, entry,
                      max(1, torch.get_num_threads() // case.processes))
        except BaseException:
            self._pool.shutdown()
            raise

    def __getattr__(self, method: str) -> Callable:
        return partial(self._run, _call, method)

    def __enter__(self) -> 'OwnProcess':
        return self

    def __exit__(self, *error) -> None:
        self._pool.shutdown()

    def _run(self, function: Callable, *args):
        try:
            return self._pool.submit(_told, function, *args).result()
        except BrokenProcessPool as error:
            raise ProcessError(
                f'the process of {self.name} is gone. A system short of memory ends '
                'processes: take a smaller size or batch. A script of your own has '
                "to call this under if __name__ == '__main__'.") from error


class Server:
    """Several processes of one contestant, which share the machine's threads.

    All run at the same time. A turn takes as long as the slowest of them. The peak is
    of all; other counts are of one. There is no floor, since they share the memory's
    bandwidth.

    Raises:
        As :class:`OwnProcess`.
    """

    def __init__(self, case: Case, entry: Entry):
        self.name = entry.name
        with ExitStack() as processes:
            self._processes = [processes.enter_context(OwnProcess(case, entry))
                               for _ in range(case.processes)]
            self._open = processes.pop_all()

    def __getattr__(self, method: str) -> Callable:
        return getattr(self._processes[0], method)

    def __enter__(self) -> 'Server':
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def turn(self, number: int) -> Turn:
        turns = self._all('turn', number)
        return Turn(max(turn.seconds for turn in turns),
                    sum(turn.page_faults for turn in turns))

    def peak_bytes(self) -> int:
        return sum(self._all('peak_bytes'))

    def measure_rates(self) -> None:
        pass

    def floor(self) -> None:
        return None

    def _all(self, method: str, *args) -> list:
        with ThreadPoolExecutor(len(self._processes)) as threads:
            return list(threads.map(lambda process: getattr(process, method)(*args),
                                    self._processes))


def _end_with_parent() -> None:
    # Ctrl-C reaches all processes; the parent says what there is to say.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _told(function: Callable, *args):
    """Call, and raise nothing that could not be read in the other process."""
    try:
        return function(*args)
    except UserError:
        raise
    except Exception:
        raise RuntimeError(traceback.format_exc()) from None


def _build(case: Case, entry: Entry, threads: int) -> None:
    global _contestant
    torch.set_num_threads(threads)
    _contestant = build(case, entry)


def _call(method: str, *args):
    return getattr(_contestant, method)(*args)
