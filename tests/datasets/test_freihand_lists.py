"""FreiHAND's lists: what is read, how it is split, and what is refused."""
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmfastvit import ArgumentError, DataError
from mmfastvit.datasets.freihand import FreiHANDDataset
from mmfastvit.datasets.json_lists import CHUNK, read_list
from mmfastvit.engine.data import check_data
from mmfastvit.models.hands.mano import FROM_VERTICES
from mmfastvit.utils.errors import MissingDataError

POSES = 41


def hands(count=POSES):
    """Return lists as FreiHAND has them, of random hands in front of the camera."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(0, 0.03, (count, 778, 3)) + [0, 0, 0.7]
    joints = rng.normal(0, 0.03, (count, 21, 3)) + [0, 0, 0.7]
    joints[:, list(FROM_VERTICES)] = vertices[:, list(FROM_VERTICES.values())]
    camera = np.array([[480., 0, 112], [0, 480, 112], [0, 0, 1]])
    return dict(K=np.repeat(camera[None], count, 0), xyz=joints, verts=vertices)


def write(root, lists, folder='training', pictures=4 * POSES):
    (root / folder / 'rgb').mkdir(parents=True)
    for name, array in lists.items():
        (root / f'{folder}_{name}.json').write_text(json.dumps(
            array.tolist() if isinstance(array, np.ndarray) else array))
    for i in range(pictures):
        cv2.imwrite(str(root / folder / 'rgb' / f'{i:08d}.jpg'),
                    np.zeros((8, 8, 3), np.uint8))
    return root


def test_a_pose_and_its_pictures(tmp_path):
    lists = hands()
    write(tmp_path, lists)
    dataset = FreiHANDDataset(str(tmp_path), split='trainval')
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset) == 4 * POSES
    info = dataset[POSES * 2 + 5]  # version 'sample' of pose 5
    assert info['img_path'].endswith(f'rgb/{POSES * 2 + 5:08d}.jpg')
    for name, of in (('K', 'K'), ('gt_joints', 'xyz'), ('gt_vertices', 'verts')):
        assert info[name].dtype == np.float32
        np.testing.assert_allclose(info[name], lists[of][5], rtol=1e-6)


def test_no_pose_is_in_two_splits(tmp_path):
    lists = hands()
    write(tmp_path, lists)
    poses = {}
    for split in ('train', 'val'):
        dataset = FreiHANDDataset(str(tmp_path), split=split, versions=('gs', 'auto'))
        poses[split] = {int(Path(dataset[i]['img_path']).stem) % POSES
                        for i in range(len(dataset))}
        # Each picture has its own pose's numbers.
        for i in range(len(dataset)):
            pose = int(Path(dataset[i]['img_path']).stem) % POSES
            np.testing.assert_allclose(dataset[i]['gt_joints'], lists['xyz'][pose],
                                       rtol=1e-6)
        assert len(dataset) == 2 * len(poses[split])
    assert poses['val'] == {0, 20, 40}
    assert not poses['train'] & poses['val']
    assert len(poses['train'] | poses['val']) == POSES


def test_evaluation_has_one_version(tmp_path):
    write(tmp_path, hands(), 'evaluation', POSES)
    dataset = FreiHANDDataset(str(tmp_path), split='test')
    assert len(dataset) == POSES
    assert 'evaluation/rgb' in dataset[0]['img_path']


def damaged(lists, name):
    if name == 'unequal':
        lists['xyz'] = lists['xyz'][:-1]
    elif name == 'nan':
        lists['verts'][7, 3, 1] = np.nan
    elif name == 'version 1':  # joints that fit other vertices
        lists['xyz'] = lists['xyz'] + [0.02, 0, 0]
    elif name == 'behind':
        lists['xyz'][3], lists['verts'][3] = -lists['xyz'][3], -lists['verts'][3]
    elif name == 'ragged':
        lists['xyz'] = lists['xyz'].tolist()
        lists['xyz'][2] = lists['xyz'][2][:-1]
    elif name == 'strings':
        lists['K'] = [[['a'] * 3] * 3] * POSES
    elif name == 'no list':
        lists['K'] = dict(a=1)
    elif name == 'empty':
        lists['K'] = []
    return lists


@pytest.mark.parametrize('name, words', [
    ('unequal', 'different lengths: training_K.json 41, training_xyz.json 40'),
    ('nan', 'entry 7 .* NaN'), ('version 1', 'entry 0 has tips .* Version 1'),
    ('behind', 'entry 3 shows its hand behind'), ('ragged', r'entry 2 .*\(20, 3\)'),
    ('strings', 'entry 0 .* no array of numbers'), ('no list', 'no JSON list'),
    ('empty', 'empty list')])
def test_damaged_lists_are_refused(tmp_path, name, words):
    write(tmp_path, damaged(hands(), name))
    with pytest.raises(DataError, match=words):
        FreiHANDDataset(str(tmp_path))


def test_missing_data_names_the_download(tmp_path):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(
        type='FreiHANDDataset', data_root=str(tmp_path), split='test'))))
    with pytest.raises(MissingDataError, match='evaluation_K.json.*lmb.informatik'):
        check_data(cfg, 'test')
    write(tmp_path, hands(), 'evaluation', pictures=POSES - 1)
    check_data(cfg, 'test')
    with pytest.raises(MissingDataError, match=(
            r"1 of its 41 pictures .*00000040.jpg.*versions=\('gs',\)")):
        FreiHANDDataset(str(tmp_path), split='test')


@pytest.mark.parametrize('options', [dict(split='dev'), dict(versions=('green', ))])
def test_unknown_names_are_refused(tmp_path, options):
    with pytest.raises(ArgumentError, match='allowed are'):
        FreiHANDDataset(str(tmp_path), **options)


@pytest.mark.parametrize('shape, text', [
    ((), '[0.125, 2e-3\n,\t3.5]'), ((2, ), '[[1, 2],[3,4] , [5.5, 6]]')])
@pytest.mark.parametrize('padding', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_lists_are_read_across_chunks(tmp_path, shape, text, padding):
    """A number that a chunk cuts in two is still one number."""
    path = tmp_path / 'list.json'
    long = '[' + ' ' * (CHUNK - padding) + text[1:]
    path.write_text(long)
    np.testing.assert_array_equal(read_list(path, shape),
                                  np.array(json.loads(long), np.float32))


@pytest.mark.parametrize('text', ['[1, 2', '[1, 2.', '[', '', '[1 2}', '[' * 100000,
                                  '[[1, [2]]]', '[1e999]', '["1"]', '[1] [2]', '\xff'])
def test_what_is_no_list_is_refused(tmp_path, text):
    path = tmp_path / 'list.json'
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(DataError):
        read_list(path, ())
