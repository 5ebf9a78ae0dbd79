"""Exported files with damaged metadata: each works, or ends in one paragraph."""
import copy
import json

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import hand, metadata, objects, write_model  # noqa: E402

from mmfastvit_runtime import PredictionError, describe, draw, load  # noqa: E402
from mmfastvit_runtime.coco import to_results  # noqa: E402

VARIANTS = 160  # of each task
VALUES = [None, True, False, 0, 1, -1, 3, 255, 256, 2**15, 2**31, 2**63, 10**40, 0.5,
          -0.0, 1e308, float('nan'), float('inf'), '', 'x', 'x' * 5000, '\0\x1b[2J',
          'detection', 'segmentation', 'boxes', 'labels', 'short', 'pillow', 'box',
          'area', [], [None], [1, 2], [2**15, 2**15], [[]], [[1, 2, 3]], [['a']],
          [[0, 0, 256]], ['a'] * 50, {}, {'type': 'Resize'}, {'type': ['Resize']},
          [{'type': 'Explode'}], [{'type': 'CenterCrop', 'crop_size': [4, 4]}] * 17]
STEPS = [dict(type='Resize', scale=[40, 30], keep_ratio=True),
         dict(type='ResizeToMultiple', size_divisor=8),
         dict(type='ResizeEdge', scale=24, edge='short', backend='pillow',
              interpolation='bicubic'),
         dict(type='CenterCrop', crop_size=[20, 20])]


def places(value, path=()):
    """Yield the keys that lead to each part of nested dicts and lists."""
    inner = (value.items() if isinstance(value, dict) else
             enumerate(value) if isinstance(value, list) else ())
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def damage(good: dict, random: np.random.RandomState) -> str:
    """Return metadata of which one to three parts, or some letters, are others."""
    said = copy.deepcopy(good)
    for _ in range(random.randint(1, 4)):
        found = list(places(said))
        if not found:
            break
        *path, key = found[random.randint(len(found))]
        parent = said
        for step in path:
            parent = parent[step]
        kind = random.randint(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent[key:key] = [copy.deepcopy(parent[key])] * random.randint(1, 200)
        elif kind == 2 and isinstance(parent, dict):
            parent[f'{key}_'] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(VALUES[random.randint(len(VALUES))])
    text = json.dumps(said)
    if random.rand() < 0.2:  # as of a damaged file
        place = random.randint(len(text))
        text = text[:place] + random.choice(['', '[' * 9999, '}', 'NaN', '\\ud800', '9'
                                             * 5000]) + text[place + 1:]
    return text


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification',
                                  'features', 'hand_mesh'])
def test_damaged_metadata(task, tmp_path):
    random = np.random.RandomState(0)
    picture = random.randint(0, 256, (30, 42, 3), np.uint8)
    found = objects([[1, 2, 20, 15], [5, 5, 30, 41], [0, 0, 9, 9]],
                    random.rand(3, 7, 7).astype(np.float32))
    good = metadata(task, resize=STEPS, category_ids=[7, 8, 9])
    if task == 'hand_mesh':
        found, good['faces'] = hand()
    elif task != 'detection':
        found = None
    if found:
        good['outputs'] = list(found)
    model = load(write_model(tmp_path / 'good.onnx', task, found, good))
    assert len(model(picture)) == len(good['outputs']) - (task == 'segmentation')
    loaded = refused = 0
    for _ in range(VARIANTS):
        text = damage(good, random)
        path = write_model(tmp_path / 'model.onnx', task, found, text)
        try:
            model = load(path, max_pixels=10**6)
            result = model(picture)
            if task != 'features':
                assert draw(picture, result).shape == picture.shape
                json.dumps(to_results(result, 1, 'a.png'), allow_nan=False)
            assert all(line.isprintable() for line in describe(result))
            loaded += 1
        except PredictionError as error:
            assert len(str(error)) < 1000, text
            refused += 1
        except Exception as error:
            raise AssertionError(f'{type(error).__name__} of {text[:2000]}') from error
    assert loaded > 0 and refused > VARIANTS // 2  # both were tried


@pytest.mark.parametrize('change, message', [
    (dict(outputs=['boxes', 'scores']), 'but the graph has'),
    (dict(task='segmentation'), 'needs labels, logits'),
    (dict(category_ids=[1]), '1 category_ids for 3 classes'),
    (dict(resize=[dict(type='Resize', scale=5, keep_ratio=True)]), 'allowed: a list'),
    (dict(resize=[dict(STEPS[2], interpolation='area')]), 'allowed: a list'),
    (dict(score_threshold=float('nan')), 'NaN is no number')])
def test_metadata_and_graph_fit(change, message, tmp_path):
    said = metadata('detection', **change)
    path = write_model(tmp_path / 'model.onnx', 'detection', objects([[0, 0, 1, 1]]),
                       said)
    with pytest.raises(PredictionError, match=f'model.onnx.*damaged: .*{message}'):
        load(path)


def test_classes_without_names(tmp_path):
    """A head may know more classes than the data set has names for."""
    found = objects([[0, 0, 9, 9]] * 3)
    path = write_model(tmp_path / 'model.onnx', 'detection', found, metadata(
        'detection', classes=['cat'], palette=[[9, 9, 9]]))
    found = load(path)(np.zeros((20, 20, 3), np.uint8))
    assert [line.split(' 0.9')[0] for line in describe(found)] == [
        'cat', 'class 1', 'class 2']
    assert [row['category_id'] for row in to_results(found, 1, 'a.png')] == [1, 2, 3]
    assert draw(np.zeros((20, 20, 3), np.uint8), found).any()
    found.metadata['category_ids'] = [90]
    with pytest.raises(PredictionError, match='class 1, for which .* no category id'):
        to_results(found, 1, 'a.png')
