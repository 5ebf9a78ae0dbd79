"""Files are written whole or not at all, whatever happens to the writer."""
import multiprocessing
import signal

import pytest

from mmfastvit.files import AtomicBackend

resource = pytest.importorskip('resource')  # the system's limits, not on Windows
LIMIT = 1000


def write_under_a_limit(path, signal_action):
    """Write more than the process may: the system fails it, or kills it, midway."""
    signal.signal(signal.SIGXFSZ, signal_action)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    AtomicBackend().put(b'new' * LIMIT, path)


@pytest.mark.parametrize('signal_action, code, left', [
    (signal.SIG_IGN, 1, 0),  # as a full disk does
    (signal.SIG_DFL, -signal.SIGXFSZ, LIMIT),  # it stays behind, in a hidden folder
])
def test_a_failed_write_changes_nothing(tmp_path, signal_action, code, left):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'old')
    process = multiprocessing.get_context('fork').Process(
        target=write_under_a_limit, args=(path, signal_action))
    process.start()
    process.join()
    assert process.exitcode == code
    assert path.read_bytes() == b'old'
    strays = [p for p in tmp_path.rglob('*') if p.is_file() and p != path]
    assert sum(p.stat().st_size for p in strays) == left
    assert all(p.parent.name.startswith('.') for p in strays)
    AtomicBackend().put(b'new', path)
    assert path.read_bytes() == b'new'


def test_folders_are_made(tmp_path):
    AtomicBackend().put(b'x', str(tmp_path / 'a' / 'b' / 'epoch_1.pth'))
    assert (tmp_path / 'a' / 'b' / 'epoch_1.pth').read_bytes() == b'x'
