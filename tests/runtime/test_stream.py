"""Many pictures: batches, order, bad ones, runs that are stopped and go on."""
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from test_command import COMMAND  # noqa: E402
from tiny_models import write_model, write_pictures  # noqa: E402

from mmfastvit_runtime import (  # noqa: E402
    PredictionError,
    load,
    read_picture,
    stream,
)
from mmfastvit_runtime.coco import dump_results  # noqa: E402
from mmfastvit_runtime.journal import Journal, describe_run  # noqa: E402
from mmfastvit_runtime.stream import in_order, predict_stream  # noqa: E402


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / 'model.onnx', 'classification')


@pytest.fixture
def folder(tmp_path):
    """Thirty files of three sizes, every third of which is no picture."""
    return write_pictures(tmp_path / 'photos', [
        None if i % 3 == 2 else [(48, 64), (40, 40), (64, 48)][i % 5 % 3]
        for i in range(30)])


@pytest.mark.parametrize('batch_size', [1, 3, 8])
def test_a_stream_equals_a_loop(batch_size, model, folder):
    model, paths = load(str(model)), sorted(folder.iterdir())
    found = list(predict_stream(model, paths, read_picture, batch_size))
    assert [one.source for one in found] == paths
    for i, one in enumerate(found):
        assert (one.error is not None) == (i % 3 == 2)
        if one.error is None:
            expected = model(read_picture(one.source))
            np.testing.assert_allclose(one.prediction['scores'], expected['scores'],
                                       rtol=1e-6)


def test_what_the_model_cannot_do_ends_nothing(model, monkeypatch):
    """The others of its batch are predicted."""
    model = load(str(model))
    run = model.engine.run

    def fails(pictures):
        if (pictures == 13).all((1, 2, 3)).any():
            raise RuntimeError('thirteen')
        return run(pictures)

    monkeypatch.setattr(model.engine, 'run', fails)
    pictures = [np.full((48, 64, 3), value, np.uint8) for value in (1, 13, 2)]
    found = list(predict_stream(model, range(3), pictures.__getitem__))
    assert [one.error is None for one in found] == [True, False, True]
    assert 'thirteen' in str(found[1].error)


def test_sources_are_asked_for_as_they_are_needed():
    taken = []

    def sources():
        for i in range(1000):
            taken.append(i)
            yield i

    results = in_order(lambda i: i * i, sources(), lambda: 10)
    assert next(results) == 0 and len(taken) == 10
    assert list(results) == [i * i for i in range(1, 1000)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 / i, range(3), lambda: 2))


def test_every_third_file_is_no_picture(model, folder, tmp_path, call):
    done = call(model, folder, '--json', tmp_path / 'found.json', '--out',
                tmp_path / 'drawn')
    assert done.returncode == 1 and '10 of the pictures' in done.stderr
    results = json.loads((tmp_path / 'found.json').read_text())
    assert {row['file_name'] for row in results} == {
        f'{i:02}.png' for i in range(30) if i % 3 != 2}
    assert len(list((tmp_path / 'drawn').iterdir())) == 20
    assert not (tmp_path / 'found.json.parts').exists()


def test_a_run_that_is_stopped_goes_on(model, folder, tmp_path, call):
    """Killed without a word; nothing is lost, nothing twice."""
    content = (folder / '00.png').read_bytes()
    for i in range(30, 1000):
        (folder / f'{i:02}.png').write_bytes(content)
    out = tmp_path / 'found.json'
    args = model, folder, '--json', out, '--batch', 4
    running = subprocess.Popen([*COMMAND, *map(str, args)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    parts = tmp_path / 'found.json.parts'
    while len(list(parts.glob('0*.json'))) < 2:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    kept = sum(not entry['failed'] for path in parts.glob('0*.json')
               for entry in json.loads(path.read_text()))
    assert 0 < kept < 990 and not out.exists()
    (parts / '.unfinished-1-00000001.json').write_text('[{')  # of a kill while it wrote
    done = call(*args)
    assert done.returncode == 1, done.stderr
    assert f'{kept:,} of 1,000 pictures are done' in done.stderr
    assert '10 of the pictures' in done.stderr  # which are tried again
    assert len(done.stdout.splitlines()) == (990 - kept) * 3  # classes
    resumed = json.loads(out.read_text())
    assert not parts.exists()
    whole = tmp_path / 'whole.json'
    call(model, folder, '--json', whole)
    assert resumed == json.loads(whole.read_text())  # the same order, too


def test_a_run_of_something_else_is_refused(model, folder, tmp_path, call):
    run = describe_run([model], ['a'], score_threshold=0.3)
    journal = Journal(tmp_path / 'found.json', run)
    journal.add('a', [dict(score=1.)])
    journal.add('b', [], failed=True)
    journal.keep()
    with pytest.raises(PredictionError, match='Another process is at work'):
        Journal(tmp_path / 'found.json', run)
    journal._locked.close()  # as when its process ends
    again = Journal(tmp_path / 'found.json', run)
    assert again.done == {'a'}
    again._locked.close()
    for other in (describe_run([model], ['b'], score_threshold=0.3),
                  describe_run([model, folder / '00.png'], ['a'], score_threshold=0.3),
                  describe_run([model], ['a'], score_threshold=0.4)):
        with pytest.raises(PredictionError, match='of another run'):
            Journal(tmp_path / 'found.json', other)
    done = call(model, folder, '--json', tmp_path / 'found.json')
    assert done.returncode == 1 and 'of another run' in done.stderr
    (tmp_path / 'found.json.parts' / '00000000.json').write_text('[{')
    with pytest.raises(PredictionError, match='no run that can go on'):
        Journal(tmp_path / 'found.json', run)


def test_lists_of_pictures(model, folder, tmp_path, call):
    names = tmp_path / 'names.txt'
    names.write_text('photos/03.png\n\nphotos/00.png\n', encoding='utf-8')
    done = call(model, names, '--json', tmp_path / 'found.json')
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / 'found.json').read_text())
    assert {(row['image_id'], row['file_name']) for row in results} == {
        (3, '03.png'), (0, '00.png')}
    names.write_text('\ufeffphotos/00.png\r\n', encoding='utf-8')  # of Windows
    assert call(model, names).returncode == 0
    for content, says in ((b'', 'names no picture'), (b'\xff\xfe', 'no list'),
                          (b'a.png\na.png', 'a.png twice')):
        names.write_bytes(content)
        done = call(model, names)
        assert done.returncode == 1 and says in done.stderr


def test_parquet(model, folder, tmp_path, call):
    parquet = pytest.importorskip('pyarrow.parquet')
    done = call(model, folder, '--parquet', tmp_path / 'found.parquet', '--json',
                tmp_path / 'found.json')
    assert '10 of the pictures' in done.stderr
    rows = parquet.read_table(tmp_path / 'found.parquet').to_pylist()
    expected = json.loads((tmp_path / 'found.json').read_text())
    assert [{key: value for key, value in row.items() if value is not None}
            for row in rows] == expected


def test_parquet_without_its_package(model, folder, tmp_path, call, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    done = call(model, folder, '--parquet', tmp_path / 'found.parquet')
    assert done.returncode == 1 and 'pip install pyarrow' in done.stderr
    assert done.stdout == '' and not (tmp_path / 'found.parquet').exists()


@pytest.mark.parametrize('results', [[], [dict(a=1)], [dict(a=1), dict(b='é')]])
def test_results_are_written_one_by_one(results, tmp_path):
    dump_results(iter(results), tmp_path / 'found.json')
    assert json.loads((tmp_path / 'found.json').read_text()) == results


def test_drawings_alone_go_on(model, folder, tmp_path, call, monkeypatch):
    """Without --json, too; and into the folder that one is in."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    done = call(model, folder, '--out', '.')
    assert '10 of the pictures' in done.stderr
    assert len(list((tmp_path / 'here').iterdir())) == 20
    assert not (tmp_path / 'here.parts').exists()


def test_one_picture_of_a_list_says_what_is_wrong(model, folder, tmp_path, call):
    names = tmp_path / 'names.txt'
    names.write_text('photos/02.png')
    for option in ((), ('--json', tmp_path / 'found.json')):
        done = call(model, names, *option)
        assert done.returncode == 1 and 'is no picture' in done.stderr, done.stderr


def test_large_pictures_wait_for_each_other(model, monkeypatch):
    """What is read ahead, and waits, is bounded in bytes."""
    monkeypatch.setattr(stream, 'BYTES', 2**20)
    held, most = [0], [0]
    picture = np.zeros((264, 264, 3), np.uint8)  # a fifth of that

    def read(i):
        held[0] += 1
        most[0] = max(most[0], held[0])
        return picture

    for _ in predict_stream(load(str(model)), range(20), read, workers=4):
        held[0] -= 1
    assert held == [0] and most[0] <= 12  # a window, and as many ahead


def test_names_and_numbers_that_no_table_holds(folder, tmp_path):
    pytest.importorskip('pyarrow')
    from mmfastvit_runtime.tables import write_parquet
    row = dict(image_id=1, file_name='caf\udce9.png', category_id=1, category='\ud800',
               score=0.5)
    write_parquet([row], tmp_path / 'odd.parquet')
    with pytest.raises(PredictionError, match='are no table'):
        write_parquet([dict(row, image_id=2**70)], tmp_path / 'large.parquet')
