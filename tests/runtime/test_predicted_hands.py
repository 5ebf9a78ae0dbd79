"""Hands that a file finds: in pixels, drawn, written down; and damaged files."""
import json

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import hand, metadata, write_model, write_pictures  # noqa: E402

from mmfastvit_runtime import (  # noqa: E402
    Prediction,
    PredictionError,
    describe,
    draw,
    load,
    read_picture,
)
from mmfastvit_runtime.batches import BatchPredictor  # noqa: E402
from mmfastvit_runtime.coco import to_results  # noqa: E402
from mmfastvit_runtime.limits import MAX_FACES, MAX_VERTICES  # noqa: E402
from mmfastvit_runtime.meshes import FINGER_COLOURS  # noqa: E402

RESIZE = [dict(type='Resize', scale=[64, 64], keep_ratio=False)]
GREY = np.full((120, 160, 3), 90, np.uint8)


def write(path, arrays=None, **said):
    """Write a file that finds ``arrays``, by default a good hand, in every picture."""
    good, faces = hand()
    said = metadata('hand_mesh', **{'classes': ['hand'], 'palette': [[230, 180, 150]],
                                    'faces': faces, **said})
    return write_model(path, 'hand_mesh', {**good, **(arrays or {})}, said)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / 'model.onnx', resize=RESIZE)


def found(arrays=None, faces=None, **said):
    """Return a prediction in a square picture of 120 pixels."""
    good, own = hand()
    arrays = {name: array[0] for name, array in {**good, **(arrays or {})}.items()}
    return Prediction({**arrays, 'uv': arrays['uv'] * 120 - 0.5}, dict(
        task='hand_mesh', classes=['hand'], palette=[[230, 180, 150]],
        faces=own if faces is None else faces, **said))


# Of the file: what it resizes to (width, height), whether it keeps the ratio, its
# margin's divisor, its own size (height, width). Of a picture of 130 x 90: what it
# becomes (height, width), and what the network sees.
SIZES = {'as it is': (None, False, 1, None, (90, 130), (90, 130)),
         'stretched': ((64, 48), False, 1, None, (48, 64), (48, 64)),
         'ratio kept': ((64, 64), True, 1, None, (44, 64), (44, 64)),
         'with a margin': ((64, 64), True, 32, None, (44, 64), (64, 64)),
         'of one size': ((64, 64), True, 1, (48, 80), (48, 80), (48, 80)),
         'of one, margin': ((64, 64), True, 32, (50, 80), (50, 80), (64, 96))}


@pytest.mark.parametrize('name', SIZES)
def test_shares_become_pixels_of_the_original(name, tmp_path):
    """As cv2.resize moves the centres of pixels."""
    scale, keep_ratio, divisor, static, content, seen = SIZES[name]
    steps = [] if scale is None else [dict(type='Resize', scale=list(scale),
                                           keep_ratio=keep_ratio)]
    pixels = np.random.default_rng(0).uniform(0, 90, (1, 21, 2))
    resized = [(pixels[..., i] + 0.5) * content[1 - i] / (130, 90)[i] for i in (0, 1)]
    shares = np.stack([resized[0] / seen[1], resized[1] / seen[0]], 2)
    path = write(tmp_path / 'model.onnx', dict(uv=shares.astype(np.float32)),
                 resize=steps, pad_divisor=divisor, size=static and list(static))
    one = load(path)(np.zeros((90, 130, 3), np.uint8))
    # float32 of shares below 1: 6e-8 of 130 pixels, and 4e-6 of pixels below 130.
    np.testing.assert_allclose(one['uv'], pixels[0], rtol=0, atol=2e-5)
    assert one['uv'].shape == (21, 2) and one['joints'].shape == (21, 3)
    np.testing.assert_array_equal(one['vertices'], hand()[0]['vertices'][0])


def test_pictures_of_several_sizes(model):
    pictures = [np.zeros((*size, 3), np.uint8) for size in
                ((120, 160), (40, 50), (120, 160), (64, 64))]
    for picture, one in zip(pictures, load(model)(pictures)):
        height, width = picture.shape[:2]
        np.testing.assert_allclose(one['uv'][9], [width / 2 - 0.5, height / 2 - 0.5])


def test_a_hand_is_drawn_and_told():
    one = found()
    drawn = draw(GREY, one)
    assert drawn.shape == GREY.shape and (GREY == 90).all()
    for tip, colour in zip(one['uv'][4::4].round().astype(int), FINGER_COLOURS):
        np.testing.assert_array_equal(drawn[tip[1], tip[0]], colour)
    # Two bones that hide most of what is below; the mesh is wider than they are.
    without = draw(GREY, found(faces=[]))
    covered = (drawn != 90).any(2).sum(), (without != 90).any(2).sum()
    assert covered[0] > covered[1] > 100
    assert (drawn[:, 130:] == 90).all() and (without[:, 130:] == 90).all()
    assert describe(one) == ["hand with its wrist at 59.5, 83.5, 140 mm from there to "
                             "the middle finger's tip"]


def test_the_mesh_is_where_the_joints_are():
    """The picture shows through it."""
    one = found(faces=[[0, 1, 2]], arrays=dict(vertices=np.float32([[
        [-0.02, 0.01, 0], [0.02, 0.01, 0], [0, 0.04, 0]]])))
    drawn = draw(GREY, one)
    # 120 pixels are 0.25 m. The triangle's middle, away from bones and edges:
    x, y = 59.5 - 480 * 0.006, 59.5 + 480 * 0.013
    colour = drawn[round(y), round(x)]
    assert (colour != 90).all() and (colour < (150, 180, 230)).all()
    bright = draw(GREY + 100, one)[round(y), round(x)].astype(int) - colour
    np.testing.assert_allclose(bright, 25, atol=1)  # a quarter of the 100


@pytest.mark.parametrize('name', ['uv', 'joints', 'vertices'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_no_numbers_are_neither_drawn_nor_written(name, value, tmp_path, call):
    good, _ = hand()
    bad = good[name].copy()
    bad[0, -1, 0] = value
    path = write(tmp_path / 'model.onnx', {name: bad})
    one = load(path)(GREY)
    assert one.finite().tolist() == [False]
    np.testing.assert_array_equal(draw(GREY, one), GREY)
    assert describe(one) == to_results(one, 1, 'a.png') == []
    cv2.imwrite(str(tmp_path / 'a.png'), GREY)
    done = call(path, tmp_path / 'a.png', '--out', tmp_path / 'drawn.png', '--json',
                tmp_path / 'found.json')
    assert done.returncode == 0 and done.stdout == ''
    assert '1 results hold NaN or infinity' in done.stderr
    assert json.loads((tmp_path / 'found.json').read_text()) == []
    np.testing.assert_array_equal(read_picture(tmp_path / 'drawn.png'), GREY)


def test_any_hand_is_drawn():
    random = np.random.default_rng(0)
    values = np.float32([0, -1, 0.5, 1, 1e4, 2**31, -2**31, 1e30, -1e30, 1e36])
    picture = random.integers(0, 256, (30, 40, 3), np.uint8)
    for faces in ([], None):
        for _ in range(20):
            one = found({name: random.choice(values, array.shape)
                         for name, array in hand()[0].items()}, faces)
            assert draw(picture, one).shape == picture.shape
            assert not [x for x in describe(one) if 'nan' in x or 'inf ' in x]
            json.dumps(to_results(one, 1, 'a.png'), allow_nan=False)


def test_a_hand_as_coco_key_points():
    one = found()
    entry, = to_results(one, 7, 'a.png')
    assert {key: entry[key] for key in list(entry)[:4]} == dict(
        image_id=7, file_name='a.png', category_id=1, category='hand')
    points = np.reshape(entry['keypoints'], (21, 3))
    np.testing.assert_array_equal(points[:, :2], one['uv'])
    assert (points[:, 2] == 2).all() and entry['score'] == 1
    np.testing.assert_array_equal(entry['joints'], one['joints'])
    one.metadata['category_ids'] = [90]
    assert to_results(one, 7, 'a.png')[0]['category_id'] == 90


def test_a_folder_and_a_video(model, tmp_path, call):
    sizes = [(40, 50), (60, 30), (40, 50)]
    folder = write_pictures(tmp_path / 'photos', sizes)
    done = call(model, folder, '--out', tmp_path / 'drawn', '--json',
                tmp_path / 'found.json')
    assert done.returncode == 0 and done.stdout.count('140 mm') == 3, done.stderr
    for i, size in enumerate(sizes):
        drawn = read_picture(tmp_path / 'drawn' / f'{i}.png')
        assert drawn.shape[:2] == size
        assert (drawn != read_picture(folder / f'{i}.png')).any()
    results = json.loads((tmp_path / 'found.json').read_text())
    assert [row['keypoints'][27:29] for row in results] == [
        [width / 2 - 0.5, height / 2 - 0.5] for height, width in sizes]
    writer = cv2.VideoWriter(str(tmp_path / 'clip.avi'), cv2.VideoWriter_fourcc(
        *'MJPG'), 5., (96, 64))
    for value in range(3):
        writer.write(np.full((64, 96, 3), 80 * value, np.uint8))
    writer.release()
    done = call(model, tmp_path / 'clip.avi', '--out', tmp_path / 'drawn.mp4')
    assert done.returncode == 0 and done.stdout.count('hand with') == 3, done.stderr
    capture = cv2.VideoCapture(str(tmp_path / 'drawn.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.read()[1].shape == (64, 96, 3)


def test_parquet(model, tmp_path, call):
    parquet = pytest.importorskip('pyarrow.parquet')
    folder = write_pictures(tmp_path / 'photos', [(40, 50), (60, 30)])
    done = call(model, folder, '--parquet', tmp_path / 'found.parquet', '--json',
                tmp_path / 'found.json')
    assert done.returncode == 0, done.stderr
    rows = parquet.read_table(tmp_path / 'found.parquet').to_pylist()
    assert [{key: value for key, value in row.items() if value is not None}
            for row in rows] == json.loads((tmp_path / 'found.json').read_text())


def test_tables_of_a_cluster(model, tmp_path):
    folder = write_pictures(tmp_path / 'photos', [(40, 50), None])
    batch = dict(bytes=[(folder / f'{i}.png').read_bytes() for i in (0, 1)])
    predictor = BatchPredictor(str(model))
    columns = predictor.columns(batch)
    one = load(model)(read_picture(folder / '0.png'))
    for name in ('uv', 'joints', 'vertices'):
        np.testing.assert_array_equal(columns[name][0], one[name])
        assert columns[name][1] == []
    assert columns['error'][0] == '' and 'is no picture' in columns['error'][1]
    bad = dict(uv=np.full((1, 21, 2), np.nan, np.float32))
    columns = BatchPredictor(str(write(tmp_path / 'bad.onnx', bad))).columns(batch)
    assert 'NaN' in columns['error'][0] and columns['uv'] == [[], []]
    pytest.importorskip('pyarrow')
    full = predictor(batch)
    assert full.to_pydict() == predictor.columns(batch)
    assert predictor(dict(bytes=[])).schema == full.schema


def test_supervision():
    supervision = pytest.importorskip('supervision')
    one = found()
    points = one.to_supervision()
    np.testing.assert_array_equal(points.xy, one['uv'][None])
    assert points.class_id.tolist() == [0]
    assert list(points.data['class_name']) == ['hand']
    drawn = supervision.VertexAnnotator().annotate(GREY.copy(), points)
    assert (drawn != GREY).any()


@pytest.mark.parametrize('arrays', [
    dict(uv=np.zeros((1, 20, 2), np.float32)),
    dict(joints=np.zeros((1, 21, 1), np.float32)),
    dict(vertices=np.zeros((1, 0, 3), np.float32)),
    dict(vertices=np.zeros((1, 41, 3), np.float32)),  # the faces name 42
    dict(vertices=np.zeros((1, MAX_VERTICES + 1, 3), np.float32)),
    dict(joints=np.zeros((1, 21, 3), np.int64))], ids=str)
def test_arrays_of_damaged_files(arrays, tmp_path):
    path = write(tmp_path / 'model.onnx', arrays)
    with pytest.raises(PredictionError, match='damaged: of a hand'):
        load(path)(GREY)


@pytest.mark.parametrize('faces', [
    [[0, 1]], [[0, 1, -1]], [[0, 1, MAX_VERTICES]], [[0, 1, 2.]], [[0, 1, True]], 'abc',
    {}, [[0, 1, 2]] * (MAX_FACES + 1)], ids=lambda faces: repr(faces)[:20])
def test_faces_of_damaged_files(faces, tmp_path):
    path = write(tmp_path / 'model.onnx', faces=faces)
    with pytest.raises(PredictionError, match='damaged: faces=.*triangles'):
        load(path)


def test_faces_may_be_missing(tmp_path):
    for said in (dict(faces=None), dict(faces=[])):
        one = load(write(tmp_path / 'model.onnx', **said))(GREY)
        assert (draw(GREY, one) != GREY).any()
    said = metadata('classification', faces=[[0, 1, 2]])
    path = write_model(tmp_path / 'model.onnx', 'classification', said=said)
    with pytest.raises(PredictionError, match='faces=.* allowed: of a hand_mesh'):
        load(path)
