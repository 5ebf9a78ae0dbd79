"""Files that ask for much are refused soon, in little memory, by name."""
import multiprocessing
import resource
import signal
import time
from pathlib import Path

import hostile
import pytest

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.read import load_file

SECONDS = 4  # on a slow machine; the longest takes one
MEMORY = 2 ** 30


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What reading each file said, and took, in a process with bounds."""
    folder = tmp_path_factory.mktemp('hostile')
    refusals = hostile.write_all(folder)
    fork = multiprocessing.get_context('fork')  # spares the import
    receive, send = fork.Pipe(duplex=False)
    process = fork.Process(target=read_all, args=(folder, send))
    process.start()
    send.close()
    found = []
    try:
        while True:
            found.append(receive.recv())
    except EOFError:
        process.join()
    assert {name for name, *_ in found} == set(refusals), process.exitcode
    return refusals, found


def read_all(folder: Path, send) -> None:
    used = int(Path('/proc/self/statm').read_text().split()[0])
    limit = used * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for path in sorted(folder.iterdir()):
        signal.alarm(60)  # ends this process, which no handler in Python would
        start = time.process_time()
        try:
            load_file(path)
            said = 'loaded'
        except CheckpointError as error:
            said = str(error)
        send.send((path.name, said, time.process_time() - start))


def test_refused_with_the_reason(outcomes):
    refusals, found = outcomes
    assert [(name, said) for name, said, _ in found if refusals[name] not in said] == []
    assert [said for _, said, _ in found if 'weights_only' in said] == []
    assert [said for _, said, _ in found if len(said) > 1500] == []


def test_refused_soon(outcomes):
    assert [outcome for outcome in outcomes[1] if outcome[2] > SECONDS] == []
