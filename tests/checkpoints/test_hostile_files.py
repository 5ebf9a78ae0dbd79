"""Files that ask for much are refused soon, in little memory, by name."""
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ENVIRONMENT

CHECKPOINTS = Path(__file__).parent
sys.path.insert(0, str(CHECKPOINTS))
import hostile  # noqa: E402

SECONDS = 6  # on a slow machine; the steps of the longest take one or two
MEMORY = 2 ** 30


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What reading each file said, and took, in a process with bounds."""
    folder = tmp_path_factory.mktemp('hostile')
    refusals = hostile.write_all(folder)
    done = subprocess.run([sys.executable, __file__, folder], text=True,
                          timeout=600, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()
             if line.startswith('{')]
    assert {line['name'] for line in lines} == set(refusals)
    return refusals, lines


def test_refused_with_the_reason(outcomes):
    refusals, lines = outcomes
    assert not [line for line in lines if refusals[line['name']] not in line['said']]
    assert not [line for line in lines if 'weights_only' in line['said']]
    assert not [line for line in lines if len(line['said']) > 1500]


def test_refused_soon(outcomes):
    assert not [line for line in outcomes[1] if line['seconds'] > SECONDS]


def main(folder: str) -> None:
    from mmfastvit import CheckpointError
    from mmfastvit.checkpoints.read import load_file
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for path in sorted(Path(folder).iterdir()):
        signal.alarm(60)  # kills this process, which no handler in Python can miss
        before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        try:
            load_file(path)
            said = 'loaded'
        except CheckpointError as error:
            said = str(error)
        seconds = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
        print(json.dumps(dict(name=path.name, said=said, seconds=seconds)), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
