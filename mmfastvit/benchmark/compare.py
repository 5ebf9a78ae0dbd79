"""One comparison: contestants in turns, each in a process of its own."""
from contextlib import ExitStack
from dataclasses import asdict

from mmfastvit.utils.errors import ArgumentError, CheckpointError, DataError
from mmfastvit.utils.timing import take_turns

from .backbones import check_equal
from .build import build
from .contestants import EXPORTED, Case, line_up
from .own_process import OwnProcess, Server
from .results import Result


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

    Returns:
        What was measured of each, and last, of a whole model, what is refused.

    Raises:
        ArgumentError: The case cannot be run, or its contestants differ.
        DataError: A config's data is missing.
        ProcessError: A contestant's process is gone.

    Example:
        >>> for result in benchmark(Case('t8', (256, 256), vs_timm=True)):
        ...     print(result.contestant, f'{result.ratio:.2f}x')
    """
    if case.processes > 1 and not own_processes:
        raise ArgumentError(f'{case.processes} processes of each contestant do not fit '
                            'in this one: leave out --processes or --one-process.')
    refused = []
    with ExitStack() as processes:
        found = []
        for entry in line_up(case):
            try:
                if own_processes:
                    kind = OwnProcess if case.processes == 1 else Server
                    found.append(processes.enter_context(kind(case, entry)))
                else:
                    found.append(build(case, entry))
            except (ArgumentError, CheckpointError, DataError) as error:
                # Of a detector, not every kind of file can be; the others are compared.
                if not (case.compares_files and entry.form in EXPORTED):
                    raise
                refused.append(Result(case, entry.name, (), 0., 0., 0., 0., 0, 0, None,
                                      refused=' '.join(str(error).split())))
        if not found:
            raise ArgumentError('None of the forms can be had:\n' + '\n'.join(
                f'{result.contestant}: {result.refused}' for result in refused))
        maps = {c.name: c.take_maps() for c in found}
        if case.vs_timm or not case.whole_model:
            check_equal(case, maps)
        del maps
        timings = take_turns({c.name: c.turn for c in found}, found[0].name,
                             rounds, seconds,
                             lambda: [c.measure_rates() for c in found])
        least = next(filter(None, (c.floor() for c in found)), None)
        return [Result(case, c.name, c.shape(), **asdict(timings[c.name]),
                       peak_bytes=c.peak_bytes(), saved_bytes=c.saved_bytes(),
                       floor=least, quality=c.take_quality())
                for c in found] + refused
