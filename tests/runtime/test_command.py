"""The command as people run it: consoles, interrupts, disks, names, links."""
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import metadata, objects, write_model, write_pictures  # noqa: E402

from mmfastvit_runtime import PredictionError, read_picture  # noqa: E402
from mmfastvit_runtime.files import check_targets  # noqa: E402

COMMAND = [sys.executable, '-m', 'mmfastvit_runtime.command']
ASCII = dict(LC_ALL='C', PYTHONIOENCODING='ascii', PYTHONUTF8='0',
             PYTHONCOERCECLOCALE='0')


def predict(*args, before=None, **variables):
    return subprocess.run([*COMMAND, *map(str, args)], text=True, capture_output=True,
                          env={**os.environ, **variables}, preexec_fn=before)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / 'model.onnx', 'classification')


@pytest.fixture
def folder(tmp_path):
    """Four pictures."""
    return write_pictures(tmp_path / 'photos', [(48, 64)] * 4)


def write_clip(path: Path, frames: int = 3) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5., (96, 64))
    random = np.random.RandomState(0)
    for _ in range(frames):
        writer.write(random.randint(0, 256, (64, 96, 3), np.uint8))
    writer.release()


@pytest.mark.parametrize('variables', [dict(PYTHONIOENCODING='ascii'), ASCII])
def test_consoles_without_our_letters(variables, folder, tmp_path):
    """Also file names: of the disk's letters, and of bytes that are none."""
    names = ['grün', '猫…', 'plain']
    path = write_model(tmp_path / 'modèle.onnx', 'classification', said=metadata(
        'classification', classes=['höhle', '猫', '\x1b[31mred\n']))
    for name, source in zip(names, sorted(folder.iterdir())):
        source.rename(folder / f'{name}.png')
    odd = folder / os.fsdecode(b'\xff.png')
    (folder / '3.png').rename(odd)
    done = predict(path, folder, '--out', tmp_path / 'möglich', '--json',
                   tmp_path / 'gefünden.json', **variables)
    assert done.returncode == 0, done.stderr
    assert 'h\\xf6hle: 0.' in done.stdout and '\\x1b[31mred\\n' in done.stdout
    assert {path.name for path in (tmp_path / 'möglich').iterdir()} == {
        path.name for path in folder.iterdir()}
    results = json.loads((tmp_path / 'gefünden.json').read_text(encoding='utf-8'))
    assert {row['category'] for row in results} == {'höhle', '猫', '\x1b[31mred\n'}
    done = predict(path, tmp_path / 'keine…', **variables)
    assert done.returncode == 1 and 'is not there' in done.stderr
    write_clip(tmp_path / 'clip.avi')
    (tmp_path / 'clip.avi').rename(tmp_path / 'füße.avi')
    done = predict(path, tmp_path / 'füße.avi', '--out', tmp_path / 'ä.mp4',
                   **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'ä.mp4').stat().st_size
    for broken in (os.fsdecode(b'\xff.avi'), os.fsdecode(b'\xff.onnx')):
        source = tmp_path / broken
        source.write_bytes(b'x')  # OpenCV would end the process
        args = (path, source) if broken.endswith('avi') else (source, folder)
        done = predict(*args, **variables)
        assert done.returncode == 1 and 'not in UTF-8' in done.stderr, done.stderr


@pytest.mark.parametrize('kind', ['pictures', 'video'])
def test_ctrl_c_keeps_what_is_finished(kind, model, folder, tmp_path):
    if kind == 'video':
        source, out = tmp_path / 'clip.avi', tmp_path / 'drawn.mp4'
        write_clip(source, 4000)
    else:
        source, out = folder, tmp_path / 'drawn'
        content = (folder / '0.png').read_bytes()
        for i in range(4000):
            (folder / f'{i}.png').write_bytes(content)
    running = subprocess.Popen(
        [*COMMAND, model, source, '--out', out, '--json', tmp_path / 'found.json'],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Who runs the tests in the background may have switched it off.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    running.stdout.readline()  # it is at work
    running.send_signal(signal.SIGINT)
    stderr = running.communicate(timeout=60)[1]
    assert running.returncode == 130, stderr
    assert 'Traceback' not in stderr and 'interrupted: ' in stderr
    assert not (tmp_path / 'found.json').exists()
    assert not list(tmp_path.rglob('.unfinished*'))
    if kind == 'video':
        assert not out.exists()
    else:
        assert 0 < len(list(out.iterdir())) < 4000
        for path in out.iterdir():
            assert read_picture(path).shape == (48, 64, 3)


def test_a_reader_that_goes_away(model, folder):
    content = (folder / '0.png').read_bytes()
    for i in range(1500):  # more lines than a pipe holds
        (folder / f'{i}.png').write_bytes(content)
    running = subprocess.Popen([*COMMAND, model, folder], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.readline()
    running.stdout.close()
    stderr = running.stderr.read()
    assert running.wait(60) == 141
    assert not [line for line in stderr.splitlines() if 'Error' in line], stderr


@pytest.mark.parametrize('room', [0, 100, 4000])
@pytest.mark.parametrize('kind', ['picture', 'json', 'video'])
def test_a_full_disk(kind, room, model, folder, tmp_path):
    """Nothing half-written stays, and nothing says that all is well."""
    out = tmp_path / {'picture': 'drawn.png', 'json': 'found.json',
                      'video': 'drawn.mp4'}[kind]
    source = folder / '0.png'
    if kind == 'video':
        source = tmp_path / 'clip.avi'
        write_clip(source, 30)
    if kind == 'json' and room == 4000:
        source = folder
        for i in range(20):
            (folder / f'{i}.png').write_bytes((folder / '0.png').read_bytes())
    done = predict(model, source, '--json' if kind == 'json' else '--out', out,
                   before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                     (room, room)))
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert str(out) in done.stderr and 'cannot be written' in done.stderr
    assert not out.exists() and not list(tmp_path.rglob('.unfinished*'))


def test_a_console_that_is_full(model, folder):
    with open('/dev/full', 'w') as full:
        done = subprocess.run([*COMMAND, model, folder], text=True, stdout=full,
                              stderr=subprocess.PIPE)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'No space left' in done.stderr


def test_what_cannot_be_written_is_known_first(model, folder, tmp_path, call):
    """Before the model has run, not after an hour."""
    (tmp_path / 'file').touch()
    for target in (tmp_path / 'file' / 'found.json', tmp_path, '/proc/found.json'):
        done = call(model, folder, '--json', target)
        assert done.returncode == 1 and 'cannot be written' in done.stderr
        assert done.stdout == '' and 'Traceback' not in done.stderr


def test_traceback(model, tmp_path):
    args = model, tmp_path / 'none.png'
    assert 'Traceback' not in predict(*args).stderr
    done = predict(*args, '--traceback')
    assert 'Traceback' in done.stderr and 'list_pictures' in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize('option', [
    ('--threads', '-1'), ('--threads', 'x'), ('--score-threshold', 'nan'),
    ('--max-pixels', '-5'), ('--max-pixels', '²')])
def test_numbers(option, model, folder, call):
    done = call(model, folder, *option)
    assert done.returncode == 2 and 'give a number' in done.stderr


def test_max_pixels(model, folder, call):
    done = call(model, folder / '0.png', '--max-pixels', 48 * 64 - 1)
    assert done.returncode == 1 and '64 x 48 = 3,072 pixels' in done.stderr
    for limit in (48 * 64, 0):
        assert call(model, folder / '0.png', '--max-pixels', limit).returncode == 0


def test_pictures_of_one_name_are_kept_apart(model, folder, tmp_path, call):
    picture = read_picture(folder / '0.png')
    for name in ('0.jpg', '0.bmp', '0.tif'):
        cv2.imwrite(str(folder / name), picture)
    done = call(model, folder, '--out', tmp_path / 'drawn')
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / 'drawn').iterdir()} == {
        '0.png', '0.jpg', '0.bmp', '0.tif', '1.png', '2.png', '3.png'}


def test_one_bad_picture_ends_no_folder(folder, tmp_path, call):
    """Whatever is wrong: its file, its size, what the model makes of it."""
    model = write_model(tmp_path / 'model.onnx', 'classification', said=metadata(
        'classification', resize=[dict(
            type='ResizeEdge', scale=256, edge='short', backend='cv2',
            interpolation='bilinear')]))
    cv2.imwrite(str(folder / '1.png'), np.zeros((1, 30000, 3), np.uint8))
    (folder / '2.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    done = call(model, folder, '--out', tmp_path / 'drawn')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert '1.png: Resized for this model' in done.stderr
    assert '2.png' in done.stderr and '2 of the pictures' in done.stderr
    assert {path.name for path in (tmp_path / 'drawn').iterdir()} == {'0.png', '3.png'}


def test_nan_is_neither_drawn_nor_written(folder, tmp_path, call):
    found = objects([[np.nan] * 4, [0, 0, np.inf, 9], [-1e30, -1e30, 1e30, 1e30],
                     [5, 5, 20, 20]])
    found['scores'][3] = np.nan
    model = write_model(tmp_path / 'model.onnx', 'detection', found)
    done = call(model, folder / '0.png', '--out', tmp_path / 'drawn.png', '--json',
                   tmp_path / 'found.json')
    assert done.returncode == 0 and '0.png: 3 results hold NaN' in done.stderr
    assert len(done.stdout.splitlines()) == 1
    row, = json.loads((tmp_path / 'found.json').read_text(),
                      parse_constant=lambda name: pytest.fail(name))
    assert row['category_id'] == 3


def test_outputs_by_another_name(model, folder, tmp_path, call):
    """Links lead to sources, too."""
    photo = folder / '0.png'
    symbolic, hard = tmp_path / 'symbolic.png', tmp_path / 'hard.png'
    symbolic.symlink_to(photo)
    hard.hardlink_to(photo)
    (tmp_path / 'link').symlink_to(folder)
    before = {path: path.read_bytes() for path in (*folder.iterdir(), model)}
    for source, out in ((photo, symbolic), (photo, hard), (symbolic, photo),
                        (folder, tmp_path / 'link'), (tmp_path / 'link', folder),
                        (photo, folder / '..' / 'photos' / '0.png')):
        done = call(model, source, '--out', out)
        assert done.returncode == 1 and 'is the source' in done.stderr, (source, out)
    for beside in ('model.onnx', 'model.bin', 'model.onnx.data', 'model.onnx.json'):
        done = call(model, photo, '--json', tmp_path / beside)
        assert done.returncode == 1 and 'is the source' in done.stderr, beside
    assert before == {path: path.read_bytes() for path in before}


def test_disks_that_ignore_case(tmp_path, monkeypatch):
    """One of Linux does not; how it is asked for is the same."""
    from mmfastvit_runtime import files
    source = tmp_path / 'Photo.png'
    source.touch()
    check_targets([tmp_path / 'photo.png'], [source])
    files._ignores_case.cache_clear()
    (tmp_path.parent / tmp_path.name.swapcase()).symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    relative = Path(tmp_path.name)
    assert files._ignores_case(relative / 'new' / 'folder')
    files._ignores_case.cache_clear()
    monkeypatch.setattr(files, '_ignores_case', lambda folder: True)
    with pytest.raises(PredictionError, match='is the source'):
        check_targets([tmp_path / 'photo.png'], [source])
    with pytest.raises(PredictionError, match='is written already'):
        check_targets([tmp_path / 'A.png', tmp_path / 'a.png'], [source])


def test_a_video_that_ends_early(model, tmp_path, call):
    write_clip(tmp_path / 'clip.avi', 20)
    content = (tmp_path / 'clip.avi').read_bytes()
    (tmp_path / 'clip.avi').write_bytes(content[:len(content) // 2])
    done = call(model, tmp_path / 'clip.avi', '--out', tmp_path / 'drawn.mp4')
    assert 'Traceback' not in done.stderr
    assert 'could be read' in done.stderr or 'no video' in done.stderr, done.stderr
