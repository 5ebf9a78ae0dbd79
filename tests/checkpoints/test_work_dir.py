"""Which checkpoint of a directory is the latest, whatever its pointer says."""
import os
import shutil

import pytest
import torch

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.work_dir import find_latest, latest_checkpoint


def save(folder, name, time, age=0):
    """Save a checkpoint at ``time``, in a file ``age`` seconds old."""
    path = folder / name
    torch.save(dict(state_dict=dict(w=torch.zeros(9)),
                    meta=dict(time=f'20250101_{time:06}')), path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / 'work'
    folder.mkdir()
    for epoch in (1, 2, 10):
        save(folder, f'epoch_{epoch}.pth', epoch, age=60 - epoch)
    save(folder, 'best_accuracy_epoch_11.pth', 11)
    save(folder, 'weights_99.pth', 99)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_10.pth'))
    return folder


@pytest.mark.parametrize('pointer', [
    None, b'', b'\xff\xfe', b'epoch_10.pth', b'/', b'\0', b'/elsewhere/epoch_10.pth',
    b'/elsewhere/epoch_7.pth', b'epoch_2.pth'])
def test_a_bad_pointer_misleads_nobody(work, pointer):
    (work / 'last_checkpoint').unlink()
    if pointer is not None:
        (work / 'last_checkpoint').write_bytes(pointer)
    assert latest_checkpoint(work) == str(work / 'epoch_10.pth')


def test_a_copy_means_its_own_files(work, tmp_path):
    copy = shutil.copytree(work, tmp_path / 'copy')
    assert latest_checkpoint(copy) == str(copy / 'epoch_10.pth')
    shutil.rmtree(work)
    assert latest_checkpoint(copy) == str(copy / 'epoch_10.pth')


def test_a_damaged_file_is_passed_over(work):
    (work / 'epoch_10.pth').write_bytes((work / 'epoch_10.pth').read_bytes()[:99])
    assert latest_checkpoint(work) == str(work / 'epoch_2.pth')
    for epoch in (1, 2):
        (work / f'epoch_{epoch}.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match='epoch_1.pth.*are damaged'):
        latest_checkpoint(work)


def test_a_younger_run_in_the_same_directory(work):
    """It is newer though its numbers are lower, also where a copy lost the dates."""
    save(work, 'epoch_1.pth', 20, age=0)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_1.pth'))
    assert find_latest(work) == work / 'epoch_1.pth'
    for path in work.iterdir():
        os.utime(path, (1e9, 1e9))
    assert find_latest(work) == work / 'epoch_1.pth'


def test_files_elsewhere_and_of_another_name(tmp_path):
    with pytest.raises(CheckpointError, match='holds no checkpoint'):
        latest_checkpoint(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('/moved/from/epoch_3.pth')
    assert find_latest(tmp_path) is None
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    for number in (3, 4):
        save(elsewhere, f'run-{number}.pth', number)
    (tmp_path / 'last_checkpoint').write_text(str(elsewhere / 'run-3.pth'))
    assert find_latest(tmp_path) == elsewhere / 'run-4.pth'
    assert latest_checkpoint('a.pth') == 'a.pth'
