"""How long calls take, from blocks of them that take turns."""
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

Step = Callable[[], object]


@dataclass(frozen=True)
class Turn:
    """One block of calls.

    Attributes:
        seconds: For one call, the mean.
        page_faults: For one call, how often the system had to find a page of
            memory; 0 where it does not tell (Windows).
    """

    seconds: float
    page_faults: float


@dataclass(frozen=True)
class Timing:
    """How long one call takes, from blocks of calls that took turns.

    Attributes:
        median: Seconds.
        spread: Seconds between the quartiles.
        ratio: How many times as fast as the baseline: the median over the
            rounds, each measured against its own round's baseline, so that
            other load on the machine weighs on both.
        page_faults: The median over the rounds.
    """

    median: float
    spread: float
    ratio: float
    page_faults: float


def turn(step: Step, number: int) -> Turn:
    """Call ``step`` a number of times."""
    calls = 0

    def counted() -> None:  # the timer warms up by calls of its own
        nonlocal calls
        calls += 1
        step()

    timer = timer_of(counted)
    before = _page_faults()
    seconds = timer.timeit(number).median
    return Turn(seconds, (_page_faults() - before) / calls)


def timer_of(step: Step) -> Any:
    """Return torch's ``Timer`` of a function.

    Its module looks for CUDA's compiler, and warns where it finds no GPU.
    """
    logger = logging.getLogger('torch.utils.cpp_extension')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        logger.setLevel(level)
    return Timer('step()', globals={'step': step},
                 num_threads=torch.get_num_threads())


def measure(steps: dict[str, Step], baseline: str, rounds: int = 10,
            seconds: float = 0.5) -> dict[str, Timing]:
    """Time every step, in turns (A B A B), after warming up.

    Args:
        steps: What to call, by name.
        baseline: The name that ratios are relative to.
        rounds: Turns of each.
        seconds: About how long one turn takes.
    """
    return take_turns({name: partial(turn, step) for name, step in steps.items()},
                      baseline, rounds, seconds)


def take_turns(turns: dict[str, Callable[[int], Turn]], baseline: str,
               rounds: int = 10, seconds: float = 0.5,
               between: Callable[[], object] = lambda: None) -> dict[str, Timing]:
    """:func:`measure` what takes its turns by itself, given how many calls.

    ``between`` is called after each round.
    """
    numbers = {}
    for name, take in turns.items():
        take(3)  # compiles, allocates
        numbers[name] = max(1, round(seconds / take(1).seconds))
    found = {name: [] for name in turns}
    for _ in range(rounds):
        for name, take in turns.items():
            found[name].append(take(numbers[name]))
        between()
    times = {name: np.array([t.seconds for t in own]) for name, own in found.items()}
    return {name: Timing(
        median=float(np.median(own)),
        spread=float(np.subtract(*np.percentile(own, [75, 25]))),
        ratio=float(np.median(times[baseline] / own)),
        page_faults=float(np.median([t.page_faults for t in found[name]])))
        for name, own in times.items()}


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0
