"""One input, and a kind of inputs."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

# What may come of an input, the worst last.
EQUAL = 'equal'  # accepted, with the result that the good input has
REFUSED = 'refused'  # with a paragraph
UNTOLD = 'untold'  # accepted, another result, as no checksum of the format tells
POOR = 'poorly refused'  # no paragraph, no name, dangerous advice, or no reason
SILENT = 'silent'  # accepted, a wrong result; or refused, but something changed
TRACEBACK = 'traceback'
CRASH = 'crash'  # the process died
HANG = 'hang'
MEMORY = 'memory'
EXECUTED = 'executed'
OUTCOMES = (EQUAL, REFUSED, UNTOLD, POOR, SILENT, TRACEBACK, CRASH, HANG, MEMORY,
            EXECUTED)

CANARY = 'CANARY'  # the name of the file that hostile inputs would write


def anything(result: Any) -> bool:
    """For damage that does no harm."""
    return True


def nothing(result: Any) -> bool:
    """For what has to be refused, since no result of it can be right."""
    return False


@dataclass(frozen=True)
class Case:
    """One input, ready to run.

    Attributes:
        run: Gives the input to the project, and returns what came of it.
        accepts: Whether a result is right.
        names: A refusal names one of these; empty where there is nothing to name.
        untold: Whether no checksum tells this damage, so that a wrong result is
            nobody's fault.
        refusable: Whether it may be refused.
        about: What was chosen, for who reads of a failure.
        kept: Whether what a refusal must leave alone is as it was.
    """

    run: Callable[[], Any]
    accepts: Callable[[Any], bool]
    names: Sequence[str] = ()
    untold: bool = False
    refusable: bool = True
    about: str = ''
    kept: Callable[[], bool] = lambda: True


# From chance, an empty folder to write to, and the folder of good inputs.
Damage = Callable[[Random, Path, Path], Case]


@dataclass(frozen=True)
class Kind:
    """A kind of inputs.

    Attributes:
        prepare: Writes good inputs into a folder, once.
        damages: Take turns; each is a row of the table, by its name.
        count: Inputs by default, for some minutes at most.
        seconds: More of the processor's, and it hangs.
        megabytes: More than before, and it is swollen.
    """

    prepare: Callable[[Path], None]
    damages: Sequence[Damage]
    count: int
    seconds: float = 10
    megabytes: int = 1000
