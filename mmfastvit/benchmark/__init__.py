"""Time and memory of FastViT's forms, side by side, and beside timm's.

Every comparison is made in one run, on the same weights and inputs, each
contestant in a process of its own. The maps of backbones are held against each
other before anything is timed; for whole models ``tools/reparameterize.py`` does
that.
"""
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from .contestants import Case, build, line_up
from .measure import take_turns

__all__ = ['Case', 'Result', 'benchmark']


@dataclass(frozen=True)
class Result:
    """What one contestant of a case needs.

    Attributes:
        case: What was compared.
        contestant: Library, form and memory format.
        shape: Shape of the input (B, 3, H, W).
        median: Seconds for one step.
        spread: Seconds between the quartiles.
        ratio: Speed relative to the case's first contestant.
        page_faults: How often a step had to wait for a page of memory.
        peak_bytes: Memory a step needs at its height, over what it starts at; 0
            where PyTorch cannot see it.
        saved_bytes: What the forward pass keeps for the backward pass; 0 in
            inference.
        floor: Least seconds that the hardware allows for the convolutions and
            linear layers of the deploy form, where that is among the
            contestants.
    """

    case: Case
    contestant: str
    shape: tuple[int, ...]
    median: float
    spread: float
    ratio: float
    page_faults: float
    peak_bytes: int
    saved_bytes: int
    floor: float | None


def benchmark(case: Case, rounds: int = 10, seconds: float = 0.5,
              own_processes: bool = True) -> list[Result]:
    """Run one comparison.

    Args:
        case: What to compare.
        rounds: Turns of each contestant.
        seconds: About how long a turn takes.
        own_processes: Whether each contestant has a process of its own, so that
            the memory that one has freed does not serve another. A script then
            has to call this under ``if __name__ == '__main__'``.

    Raises:
        ArgumentError: The case cannot be run, or its contestants differ.
        DataError: A config's data is missing.
        ProcessError: A contestant's process is gone.

    Example:
        >>> for result in benchmark(Case('t8', (256, 256), vs_timm=True)):
        ...     print(result.contestant, f'{result.ratio:.2f}x')
    """
    from .backbones import check_equal
    from .own_process import OwnProcess
    with ExitStack() as processes:
        found = [processes.enter_context(OwnProcess(case, entry)) if own_processes
                 else build(case, entry) for entry in line_up(case)]
        maps = {c.name: c.take_maps() for c in found}
        if not case.whole_model:
            check_equal(case, maps)
        del maps
        timings = take_turns({c.name: c.turn for c in found}, found[0].name,
                             rounds, seconds)
        least = next(filter(None, (c.floor() for c in found)), None)
        return [Result(case, c.name, c.shape(), **asdict(timings[c.name]),
                       peak_bytes=c.peak_bytes(), saved_bytes=c.saved_bytes(),
                       floor=least) for c in found]
