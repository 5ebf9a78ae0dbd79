"""The judge of the adversary: it notices each outcome."""
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import pytest

from mmfastvit import CheckpointError
from robustness.case import (
    CANARY,
    CRASH,
    EQUAL,
    EXECUTED,
    HANG,
    MEMORY,
    POOR,
    REFUSED,
    SILENT,
    TRACEBACK,
    UNTOLD,
    Case,
    Kind,
    anything,
    nothing,
)
from robustness.run import BrokenAdversary, run


def refuse(text):
    raise CheckpointError(text)


def write(path):
    Path(path).write_text('')


def swell():
    kept = b'x' * (4 * 10**8)  # in less time than it has, on slow machines, too
    time.sleep(5)
    return kept


CASES = {
    EQUAL: Case(lambda: 1, lambda found: found == 1),
    SILENT: Case(lambda: 2, nothing),
    UNTOLD: Case(lambda: 2, nothing, untold=True),
    REFUSED: Case(lambda: refuse('a.pth is empty.'), nothing, ['a.pth']),
    f'{REFUSED} by a tool': Case(lambda: sys.exit('error: no.'), nothing),
    f'{POOR}: advice': Case(lambda: refuse('set weights_only=False'), anything),
    f'{POOR}: no name': Case(lambda: refuse('it is empty.'), anything, ['a.pth']),
    f'{POOR}: no paragraph': Case(lambda: sys.exit('no'), anything),
    f'{POOR}: no reason': Case(lambda: refuse('no.'), anything, refusable=False),
    f'{SILENT}: changed': Case(lambda: refuse('no.'), anything, kept=lambda: False),
    TRACEBACK: Case(lambda: 1 / 0, anything),
    CRASH: Case(lambda: os.kill(os.getpid(), signal.SIGKILL), anything),
    f'{CRASH}: it left': Case(lambda: os._exit(0), anything),
    HANG: Case(lambda: [None for _ in iter(int, 1)], anything),
    MEMORY: Case(swell, anything),
    f'{EXECUTED}: a shell': Case(lambda: os.system(f'true {CANARY}'), anything),
    f'{EXECUTED}: a string': Case(lambda: exec(f'a = "{CANARY}"'), anything),
    f'{EXECUTED}: a file': Case(lambda: write(CANARY), anything),
    f'{EXECUTED}: elsewhere': Case(lambda: write('../elsewhere'), anything),
}


@pytest.mark.skipif(not hasattr(os, 'wait4'), reason='needs to fork')
def test_every_outcome_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    kind = Kind(lambda good: None, [
        lambda *_, case=case: case for case in CASES.values()], count=0,
        seconds=1, megabytes=300)
    found = [result.outcome for result in run(
        kind, 'any', 0, range(len(CASES)), tmp_path / 'inputs')]
    assert dict(zip(CASES, found)) == {name: name.partition(':')[0].removesuffix(
        ' by a tool') for name in CASES}


@pytest.mark.skipif(not hasattr(os, 'wait4'), reason='needs to fork')
def test_an_input_that_cannot_be_made_is_no_outcome(tmp_path):
    def damage(random: Random, folder: Path, good: Path) -> Case:
        raise LookupError('mine')
    with pytest.raises(BrokenAdversary, match='mine'):
        list(run(Kind(lambda good: None, [damage], 0), 'any', 0, range(1),
                 tmp_path / 'inputs'))
