"""Tables of pictures, with and without Ray."""
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import metadata, objects, write_model, write_pictures  # noqa: E402

from mmfastvit_runtime import PredictionError, load, read_picture  # noqa: E402
from mmfastvit_runtime.batches import BatchPredictor  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """Five pictures and a file that is none."""
    return write_pictures(tmp_path / 'photos', [
        *((40, 50 + i % 2) for i in range(5)), None])


def columns(folder):
    paths = sorted(folder.iterdir())
    return dict(bytes=[path.read_bytes() for path in paths], path=list(map(str, paths)))


def test_a_row_for_each_picture(folder, tmp_path):
    boxes = objects([[1, 2, 11, 22], [5, 5, 20, 30], [np.nan] * 4])
    model = write_model(tmp_path / 'model.onnx', 'detection', boxes)
    found = BatchPredictor(str(model)).columns(columns(folder))
    assert found['path'] == columns(folder)['path']
    assert [error == '' for error in found['error']] == [True] * 5 + [False]
    assert 'is no picture' in found['error'][5]
    assert found['boxes'][0] == [[1, 2, 11, 22], [5, 5, 20, 30]]
    assert found['boxes'][5] == found['category'][5] == []
    assert {len(column) for column in found.values()} == {6}


@pytest.mark.parametrize('task', ['classification', 'segmentation'])
def test_other_tasks(task, folder, tmp_path):
    model = write_model(tmp_path / 'model.onnx', task)
    found = BatchPredictor(str(model), batch_size=2).columns(columns(folder))
    alone = load(str(model))(read_picture(folder / '0.png'))
    if task == 'classification':
        assert found['label'][0] == alone['scores'].argmax()
        assert found['score'][0] == pytest.approx(alone['scores'].max())
        assert found['label'][5] == -1
    else:
        assert found['labels'][0] == np.unique(alone['labels']).tolist()
        assert sum(found['shares'][0]) == pytest.approx(1)


def test_no_rows_and_no_table(tmp_path):
    model = write_model(tmp_path / 'model.onnx', 'classification')
    assert BatchPredictor(str(model)).columns(dict(bytes=[])) == {'path': []}
    model = write_model(tmp_path / 'maps.onnx', 'features')
    with pytest.raises(PredictionError, match='too large for a table'):
        BatchPredictor(str(model))


@pytest.mark.parametrize('task', ['detection', 'classification', 'segmentation'])
def test_types_do_not_depend_on_what_is_found(task, folder, tmp_path):
    pytest.importorskip('pyarrow')
    boxes = objects([[1, 2, 11, 22]]) if task == 'detection' else None
    predictor = BatchPredictor(str(write_model(tmp_path / 'model.onnx', task, boxes)))
    full = predictor(columns(folder))
    assert full.to_pydict() == predictor.columns(columns(folder))
    for none in (dict(bytes=[]), dict(bytes=[b'no picture'])):
        assert predictor(none).schema == full.schema


def test_ray(folder, tmp_path):
    """The example of docs/clusters.md, on a Ray of this machine."""
    ray = pytest.importorskip('ray')
    pytest.importorskip('pyarrow')
    model = write_model(tmp_path / 'model.onnx', 'detection',
                        objects([[1, 2, 11, 22]]), metadata('detection'))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        pictures = ray.data.read_binary_files(str(folder), include_paths=True)
        found = pictures.map_batches(
            BatchPredictor, fn_constructor_kwargs=dict(model=str(model)),
            batch_size=2, concurrency=1)
        found.write_parquet(str(tmp_path / 'found'))
    finally:
        ray.shutdown()
    from pyarrow import parquet
    rows = parquet.read_table(tmp_path / 'found').to_pylist()
    assert {row['path'].rsplit('/')[-1] for row in rows} == {
        f'{i}.png' for i in range(6)}
    assert sum(row['error'] == '' for row in rows) == 5
    assert all(row['boxes'] == [[1, 2, 11, 22]] for row in rows if not row['error'])
