"""Exported files at work: alone, in threads, on a folder; and what is refused."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import mmfastvit  # noqa: E402
import mmfastvit_runtime  # noqa: E402
from conftest import ROOT  # noqa: E402
from mmfastvit_runtime import PredictionError, load, read_picture  # noqa: E402
from mmfastvit_runtime.metadata import parse  # noqa: E402

pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]


def predict(*args, **variables):
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, '-m', 'mmfastvit_runtime.command', *map(str, args)], text=True,
        env={**os.environ, **variables}, capture_output=True)


def assert_refused(done, *messages):
    assert done.returncode not in (0, -9) and 'Traceback' not in done.stderr
    for message in messages:
        assert message in done.stderr


def test_predicts_with_a_runtime_alone(exported, shapes, tmp_path):
    """Neither PyTorch nor OpenMMLab, nor this package, can be imported."""
    blocker = tmp_path / 'sitecustomize.py'
    names = 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmfastvit'
    blocker.write_text(f'import sys\nsys.modules.update(dict.fromkeys({names}))\n')
    picture = sorted((shapes / 'val').glob('*.png'))[0]
    shutil.copytree(ROOT / 'runtime' / 'mmfastvit_runtime',
                    tmp_path / 'mmfastvit_runtime')
    for kind in ('maskrcnn', 'fpn', 'classifier'):
        done = predict(exported(kind)[2], picture, '--out', tmp_path / f'{kind}.png',
                       '--score-threshold', 0.01, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
        drawn, original = (read_picture(path) for path in
                           (tmp_path / f'{kind}.png', picture))
        assert drawn.shape == original.shape and (drawn != original).any()


def test_a_folder_to_pictures_and_coco_results(exported, shapes, tmp_path):
    """One damaged picture is reported, and the others are done."""
    from pycocotools.coco import COCO
    folder, out = tmp_path / 'photos', tmp_path / 'drawn'
    shutil.copytree(shapes / 'val', folder)
    (folder / '000009.png').write_bytes(b'no picture')
    model = exported('maskrcnn')[2]
    done = predict(model, folder, '--out', out, '--json', tmp_path / 'found.json')
    assert_refused(done, '000009.png', '1 of the pictures')
    names = {path.name for path in (shapes / 'val').glob('*.png')}
    assert {path.name for path in out.iterdir()} == names
    results = json.loads((tmp_path / 'found.json').read_text())
    assert {row['file_name'] for row in results} == names
    assert all(row['image_id'] == int(Path(row['file_name']).stem) for row in results)
    assert {row['category_id'] for row in results} <= {1, 2, 3}
    truth = COCO(shapes / 'annotations' / 'instances_val.json')
    loaded = truth.loadRes(results)  # as COCO's own evaluator does
    first = max(loaded.anns.values(), key=lambda row: row['area'])
    assert loaded.annToMask(first).any()
    found = load(model)(read_picture(folder / first['file_name']))
    i = np.abs(found['scores'] - first['score']).argmin()
    x, y, width, height = first['bbox']
    np.testing.assert_allclose(found['boxes'][i], [x, y, x + width, y + height],
                               atol=1e-3)
    np.testing.assert_array_equal(loaded.annToMask(first), found['masks'][i])


@pytest.mark.parametrize('kind', ['maskrcnn', 'fpn', 'classifier'])
def test_a_video(kind, exported, tmp_path):
    source = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*'MJPG'), 5., (96, 64))
    for value in range(3):
        writer.write(np.full((64, 96, 3), 80 * value, np.uint8))
    writer.release()
    done = predict(exported(kind)[2], source, '--out', tmp_path / 'drawn.mp4', '--json',
                   tmp_path / 'found.json')
    assert done.returncode == 0, done.stderr
    capture = cv2.VideoCapture(str(tmp_path / 'drawn.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    results = json.loads((tmp_path / 'found.json').read_text())
    assert {row['image_id'] for row in results} <= {0, 1, 2}
    if kind != 'maskrcnn':  # new weights may find no object
        assert {row['image_id'] for row in results} == {0, 1, 2}
    assert not list(tmp_path.glob('.unfinished*'))


def test_sources_are_never_replaced(exported, shapes, tmp_path):
    model, folder = exported('fpn')[2], tmp_path / 'photos'
    shutil.copytree(shapes / 'val', folder)
    photo = sorted(folder.iterdir())[0]
    before = photo.read_bytes()
    assert_refused(predict(model, photo, '--out', photo), 'is the source')
    assert_refused(predict(model, photo, '--out', folder), 'is the source')
    assert_refused(predict(model, folder, '--out', folder), 'is the source')
    assert_refused(predict(model, folder, '--out', tmp_path / 'a.png'), 'name a folder')
    assert_refused(predict(model, tmp_path / 'none'), 'is not there')
    own = tmp_path / 'own.onnx'
    shutil.copy(model, own)
    for target in (own, photo):
        assert_refused(predict(own, photo, '--json', target), 'is the source')
    assert_refused(predict(own, photo, '--out', own), 'is the source')
    assert_refused(predict(own, photo, '--out', tmp_path / 'a.png', '--json',
                           tmp_path / 'a.png'), 'is written already')
    for target in (tmp_path, photo / 'found.json'):
        assert_refused(predict(own, photo, '--json', target), 'cannot be written')
    assert own.read_bytes() == Path(model).read_bytes()
    assert photo.read_bytes() == before
    assert not list(tmp_path.rglob('.unfinished*'))


def test_supervision(exported, shapes):
    supervision = pytest.importorskip('supervision')
    picture = read_picture(sorted((shapes / 'val').glob('*.png'))[0])
    found = load(exported('maskrcnn')[2])(picture)
    detections = found.to_supervision()
    assert len(detections) == len(found['scores']) > 0
    np.testing.assert_array_equal(detections.xyxy, found['boxes'])
    np.testing.assert_array_equal(detections.mask, found['masks'])
    assert list(detections['class_name']) == [
        found.metadata['classes'][label] for label in found['labels']]
    drawn = supervision.BoxAnnotator().annotate(picture.copy(), detections)
    assert (drawn != picture).any()
    labels = load(exported('fpn')[2])(picture)
    areas = labels.to_supervision()
    assert sum(mask.sum() for mask in areas.mask) == labels['labels'].size
    scores = load(exported('classifier')[2])(picture)
    assert scores.to_supervision().get_top_k(1)[0][0] == scores['scores'].argmax()
    with pytest.raises(PredictionError, match='export the whole model'):
        load(exported('backbone')[2])(picture).to_supervision()


def test_labels_of_resized_pictures(exported):
    """Class by class, in little memory, the same as all at once."""
    model = load(exported('fpn')[2])
    random = np.random.RandomState(0)
    logits = random.randn(1, len(model.metadata['classes']), 16, 24).astype(np.float32)
    found = model.restore(dict(labels=logits.argmax(1), logits=logits), (16, 24),
                          (35, 41))
    expected = np.argmax([cv2.resize(one, (41, 35)) for one in logits[0]], 0)
    np.testing.assert_array_equal(found['labels'], expected)


DAMAGE = {
    'no dict': [], 'task': dict(task='poetry'), 'outputs': dict(outputs=[]),
    'classes': dict(classes=[1]), 'palette': dict(palette=[[0, 0, 256]]),
    'fewer colours': dict(palette=[]), 'size': dict(size=[float('nan'), 3]),
    'huge size': dict(size=[10**6, 10**6]), 'batch': dict(batch='two'),
    'unknown step': dict(resize=[dict(type='Explode')]),
    'step without arguments': dict(resize=[dict(type='Resize')]),
    'step of another argument': dict(resize=[dict(
        type='ResizeToMultiple', size_divisor=32, extra=1)]),
    'huge scale': dict(resize=[dict(type='Resize', scale=[10**9, 1],
                                    keep_ratio=False)]),
    'threshold': dict(score_threshold=float('inf')),
    'mask threshold': dict(mask_threshold=None), 'ids': dict(category_ids=['a'])}


@pytest.mark.parametrize('damage', DAMAGE)
def test_metadata_is_checked(damage, exported):
    good = exported('maskrcnn')[3].metadata
    path = Path('model.onnx')
    assert parse(path, json.dumps(good)) == json.loads(json.dumps(good))
    for name in ('task', 'outputs', 'classes', 'palette', 'resize', 'score_threshold'):
        with pytest.raises(PredictionError, match=f'damaged: {name}=None'):
            parse(path, json.dumps({k: v for k, v in good.items() if k != name}))
    change = DAMAGE[damage]
    bad = {**good, **change} if isinstance(change, dict) else change
    with pytest.raises(PredictionError, match="model.onnx's metadata is damaged"):
        parse(path, json.dumps(bad))
    with pytest.raises(PredictionError, match='no JSON'):
        parse(path, '{')


def test_versions_are_one():
    assert mmfastvit_runtime.__version__ == mmfastvit.__version__


def test_help_is_fast_and_names_the_command():
    done = predict('--help')
    assert done.returncode == 0 and 'mmfastvit-predict' in done.stdout


def test_bad_pictures_and_files(exported, tmp_path):
    model = exported('classifier')[2]
    empty, text = tmp_path / 'empty.png', tmp_path / 'text.png'
    empty.write_bytes(b'')
    text.write_text('no picture')
    for path in (empty, text, tmp_path / 'missing.png'):
        with pytest.raises(PredictionError, match='picture'):
            read_picture(path)
    truncated = tmp_path / 'truncated.onnx'
    truncated.write_bytes(Path(model).read_bytes()[:10000])
    foreign = tmp_path / 'foreign.onnx'
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, foreign)
    for path, message in ((truncated, 'damaged'), (foreign, 'metadata'),
                          (tmp_path / 'missing.onnx', 'no file'), (text, '.onnx')):
        assert_refused(predict(path, text), message)
    assert_refused(predict(model, text, '--out', tmp_path / 'drawn.png'), 'no picture')


def test_bad_openvino_files(exported, tmp_path):
    openvino = pytest.importorskip('openvino')
    path, weights = tmp_path / 'model.xml', tmp_path / 'model.bin'
    model = openvino.convert_model(exported('classifier')[2])
    openvino.save_model(model, path)
    with pytest.raises(PredictionError, match='no metadata'):
        load(path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(PredictionError, match='damaged.*[Ww]eights'):
        load(path)
    weights.unlink()
    with pytest.raises(PredictionError, match='beside it'):
        load(path)
    weights.touch()
    for content in ('', path.read_text()[:3000]):
        path.write_text(content)
        with pytest.raises(PredictionError, match='damaged'):
            load(path)
