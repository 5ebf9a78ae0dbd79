"""Many pictures: batches, order, bad ones, runs that are stopped and go on."""
import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from test_command import COMMAND  # noqa: E402
from tiny_models import write_model  # noqa: E402

from mmfastvit_runtime import PredictionError, load, read_picture  # noqa: E402
from mmfastvit_runtime.coco import dump_results  # noqa: E402
from mmfastvit_runtime.journal import Journal, describe_run  # noqa: E402
from mmfastvit_runtime.stream import in_order, predict_stream  # noqa: E402


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / 'model.onnx', 'classification')


@pytest.fixture
def folder(tmp_path):
    """Thirty files of three sizes, every third of which is no picture."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    random = np.random.RandomState(0)
    for i in range(30):
        path = folder / f'{i:02}.png'
        if i % 3 == 2:
            path.write_bytes(b'no picture')
            continue
        size = [(48, 64), (40, 40), (64, 48)][i % 5 % 3]
        cv2.imwrite(str(path), random.randint(0, 256, (*size, 3), np.uint8))
    return folder


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

    results = in_order(lambda i: i * i, sources(), 10)
    assert next(results) == 0 and len(taken) == 10
    assert list(results) == [i * i for i in range(1, 1000)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 / i, range(3), 2))


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
    kept = sum(len(json.loads(path.read_text())) for path in parts.glob('0*.json'))
    assert 0 < kept < 1000 and not out.exists()
    done = call(*args)
    assert done.returncode == 1, done.stderr
    assert f'{kept:,} of 1,000 pictures are done' in done.stderr
    assert '10 of the pictures' in done.stderr  # those of before count, too
    assert len(done.stdout.splitlines()) < 1000 * 3
    resumed = json.loads(out.read_text())
    assert not parts.exists()
    whole = tmp_path / 'whole.json'
    call(model, folder, '--json', whole)
    assert resumed == json.loads(whole.read_text())  # the same order, too


def test_a_run_of_something_else_is_refused(model, folder, tmp_path, call):
    run = describe_run(model, ['a'], score_threshold=0.3)
    journal = Journal(tmp_path / 'found.json', run)
    journal.add('a', [dict(score=1.)])
    journal.keep()
    assert Journal(tmp_path / 'found.json', run).done == {'a'}
    for other in (describe_run(model, ['b'], score_threshold=0.3),
                  describe_run(folder / '00.png', ['a'], score_threshold=0.3),
                  describe_run(model, ['a'], score_threshold=0.4)):
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
    for content, says in ((b'', 'names no picture'), (b'\xff\xfe', 'no list')):
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
