"""A contestant in a process of its own, as its user runs it.

In one process, what one contestant has freed serves the next: the system does not
have to find, and to clear, memory for its maps, which can take longer than to
compute them.
"""
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context

import torch

from ..errors import ProcessError
from .contestants import Case, Contestant, Entry, build

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
        self._pool = ProcessPoolExecutor(1, get_context('spawn'))
        self._run(_build, case, entry, torch.get_num_threads())

    def __getattr__(self, method: str) -> Callable:
        return partial(self._run, _call, method)

    def __enter__(self) -> 'OwnProcess':
        return self

    def __exit__(self, *error) -> None:
        self._pool.shutdown()

    def _run(self, function: Callable, *args):
        try:
            return self._pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise ProcessError(
                f'the process of {self.name} is gone; a system short of memory '
                'ends processes. Take a smaller size or batch.') from error


def _build(case: Case, entry: Entry, threads: int) -> None:
    global _contestant
    torch.set_num_threads(threads)
    _contestant = build(case, entry)


def _call(method: str, *args):
    return getattr(_contestant, method)(*args)
