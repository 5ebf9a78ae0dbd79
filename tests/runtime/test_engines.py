"""The libraries that run a file: threads, and arrays that are not what was said."""
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import metadata, objects, write_model  # noqa: E402

from mmfastvit_runtime import PredictionError, load  # noqa: E402


def opened(path, suffix):
    """Open a file in ONNX Runtime or, converted, in OpenVINO."""
    if suffix == '.xml':
        pytest.importorskip('openvino')
        from mmfastvit.export.formats import openvino
        openvino.convert(path, path.with_suffix('.xml'))
    return load(path.with_suffix(suffix))


@pytest.mark.parametrize('task', ['classification', 'segmentation'])
@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_threads_get_their_own_pictures_results(suffix, task, tmp_path):
    """8 threads and 200 calls, of pictures of several sizes."""
    model = opened(write_model(tmp_path / 'model.onnx', task), suffix)
    random = np.random.RandomState(0)
    pictures = [random.randint(0, 256, (64 + 8 * i, 96, 3), np.uint8)
                for i in range(8)]
    expected = [dict(model(picture)) for picture in pictures]
    start = threading.Barrier(8)

    def call(thread):
        start.wait()
        return [(i % 8, dict(model(pictures[i % 8])))
                for i in range(thread, thread + 25)]

    with ThreadPoolExecutor(8) as pool:
        found = [row for rows in pool.map(call, range(8)) for row in rows]
    assert len(found) == 200
    for i, arrays in found:
        for name, array in arrays.items():
            np.testing.assert_allclose(array, expected[i][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_what_the_library_refuses(suffix, tmp_path):
    """Another size than the graph takes."""
    said = metadata('classification', size=[8, 8])
    model = opened(write_model(tmp_path / 'model.onnx', 'classification', said=said),
                   suffix)
    with pytest.raises(PredictionError, match='cannot compute with pictures of'):
        model.run(np.zeros((1, 4, 8, 8), np.float64))


BOXES = [[0, 0, 9, 9]] * 3
DAMAGE = {
    'boxes': dict(boxes=np.zeros((3, 5), np.float32)),
    'scores': dict(scores=np.zeros((1, 3), np.float32)),
    'labels': dict(labels=np.zeros(3, np.float32)),
    'fewer': dict(labels=np.zeros(2, np.int64)),
    'negative': dict(labels=np.array([0, -1, 2])),
    'huge': dict(labels=np.array([0, 1, 2**40])),
    'masks': dict(masks=np.zeros((3, 0, 7), np.float32)),
    'fewer masks': dict(masks=np.zeros((2, 7, 7), np.float32))}


@pytest.mark.parametrize('name', DAMAGE)
def test_arrays_are_checked(name, tmp_path):
    found = {**objects(BOXES, np.zeros((3, 7, 7), np.float32)), **DAMAGE[name]}
    model = load(write_model(tmp_path / 'model.onnx', 'detection', found))
    with pytest.raises(PredictionError, match='file is damaged'):
        model(np.zeros((20, 20, 3), np.uint8))
