"""Files are written whole or not at all, whatever happens to the writer."""
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.files import (
    AtomicBackend,
    check_targets,
    clear_unfinished,
    whole_file,
)

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


def test_parts_move_together_or_not_at_all(tmp_path):
    (tmp_path / 'b.json').mkdir()
    with pytest.raises(ArgumentError, match='b.json'), \
            whole_file(tmp_path / 'b') as unfinished:
        unfinished.write_text('new')
        unfinished.with_name('b.json').write_text('new')
    assert [path.name for path in tmp_path.iterdir()] == ['b.json']
    assert (tmp_path / 'b.json').is_dir()
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / 'c'):
        pass  # a library that failed without a word


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / 'model.mlpackage'
    for text in ('old', 'new'):
        with whole_file(path, is_folder=True) as unfinished:
            unfinished.mkdir()
            (unfinished / text).touch()
    assert [file.name for file in tmp_path.rglob('*')] == [path.name, 'new']


def test_folders_are_made(tmp_path):
    AtomicBackend().put(b'x', str(tmp_path / 'a' / 'b' / 'epoch_1.pth'))
    assert (tmp_path / 'a' / 'b' / 'epoch_1.pth').read_bytes() == b'x'


def test_sources_are_never_replaced_under_any_name(tmp_path):
    source = tmp_path / 'source.pth'
    source.write_bytes(b'weights')
    (tmp_path / 'soft.pth').symlink_to(source)
    (tmp_path / 'hard.pth').hardlink_to(source)
    for name in ('source.pth', 'soft.pth', 'hard.pth', 'nowhere/../source.pth'):
        with pytest.raises(ArgumentError, match='is the source .*source.pth, which'):
            check_targets([tmp_path / name], [None, 'https://x.org/a.pth', source])
        with pytest.raises(ArgumentError, match='is the source'), \
                whole_file(tmp_path / name, sources=[source]):
            pass
    # What moves with a file is held to it, too.
    with pytest.raises(ArgumentError, match='is the source'), \
            whole_file(tmp_path / 'new.onnx', sources=[source]) as unfinished:
        unfinished.touch()
        unfinished.with_name('source.pth').touch()
    with pytest.raises(ArgumentError, match='written already'):
        check_targets([tmp_path / 'a', tmp_path / 'b' / '..' / 'a'])
    with pytest.raises(ArgumentError, match='no folder that you may write to'):
        check_targets([source / 'a' / 'b'])
    assert {path.name for path in tmp_path.iterdir()} == {
        'source.pth', 'soft.pth', 'hard.pth'}
    assert source.read_bytes() == b'weights'
    check_targets([tmp_path / 'new' / 'a'], [source])


def test_only_what_dead_processes_left_is_cleared(tmp_path):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    with whole_file(tmp_path / 'alive') as alive:
        alive.write_text('new')
        own = alive.parent.name
        left = own.replace(f'-{os.getpid()}-', f'-{dead.pid}-')
        for name in (left, '.unfinished-old', '.unfinished-young',
                     f'.unfinished-1-{"0" * 32}-elsewhere'):
            (tmp_path / name).mkdir()
            (tmp_path / name / 'epoch_1.pth').touch()
        os.utime(tmp_path / '.unfinished-old', (1e9, 1e9))
        removed = clear_unfinished(tmp_path)
        assert {path.name for path in removed} == {left, '.unfinished-old'}
        assert not any(path.exists() for path in removed)
    assert (tmp_path / 'alive').read_text() == 'new'
    assert len(list(tmp_path.glob('.unfinished-*'))) == 2
