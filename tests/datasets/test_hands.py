"""Generated hands: the hand itself, and the data set of its pictures."""
import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mmfastvit import ArgumentError, DataError
from mmfastvit.datasets import hands
from mmfastvit.datasets.hand_template import UNITS, joint_of, make_hand
from mmfastvit.datasets.hands import HandsSpec, generate_hands, project
from mmfastvit.models.hands import MANO
from mmfastvit.models.hands.mano import FROM_VERTICES, PARENTS, load_hand
from mmfastvit.models.hands.rotations import from_axis_angle

SPEC = HandsSpec(num_train=12, num_evaluation=4, image_size=96, seed=3)


@pytest.fixture(scope='module')
def numbers():
    return make_hand()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_hands(tmp_path_factory.mktemp('data') / 'hands', SPEC)


def lists_of(root, split):
    return {name: np.array(json.loads((root / f'{split}_{name}.json').read_text()))
            for name in hands.LISTS}


def digest_of(root):
    digest = hashlib.sha256()
    for path in sorted(root.glob('*_*.json')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def parts_of(faces):
    """Return the faces of each connected part."""
    labels = torch.arange(778)
    while True:
        least = labels[faces].min(1, keepdim=True).values.expand(-1, 3)
        joined = labels.scatter_reduce(0, faces.ravel(), least.ravel(), 'amin')
        if torch.equal(joined, labels):
            break
        labels = joined
    return [faces[labels[faces[:, 0]] == label] for label in labels.unique()]


def volume(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return float((torch.cross(a, b, dim=1) * c).sum() / 6)


def windings(point, vertices, faces):
    """Return how often closed faces wind round a point, by their solid angles."""
    a, b, c = (vertices[faces] - point).double().unbind(1)
    x, y, z = a.norm(dim=1), b.norm(dim=1), c.norm(dim=1)
    below = (x * y * z + (a * b).sum(1) * z + (b * c).sum(1) * x + (c * a).sum(1) * y)
    triple = (a * torch.cross(b, c, dim=1)).sum(1)
    return float(torch.atan2(triple, below).sum() / (2 * np.pi))


def test_it_has_the_counts_of_mano(numbers):
    shapes = [tuple(value.shape) for value in numbers]
    assert shapes == [(778, 3), (778, 3, 10), (778, 3, 135), (16, 778), (778, 16),
                      (45,), (1532, 3)]
    assert numbers.faces.unique().tolist() == list(range(778))
    assert_close(numbers.joint_regressor.sum(1), torch.ones(16))
    assert_close(numbers.skinning_weights.sum(1), torch.ones(778))
    assert (numbers.skinning_weights >= -1e-7).all()  # rounding of float32
    assert not numbers.pose_directions.any() and not numbers.mean_pose.any()
    assert not numbers.shape_directions[..., len(UNITS):].any()
    assert all(numbers.shape_directions[..., i].any() for i in range(len(UNITS)))


@pytest.mark.parametrize('parameter', [None, *range(len(UNITS))])
@pytest.mark.parametrize('amount', [-2, 2])
def test_its_parts_are_closed_and_face_outwards(numbers, parameter, amount):
    vertices = numbers.template
    if parameter is not None:
        vertices = vertices + amount * numbers.shape_directions[..., parameter]
    parts = parts_of(numbers.faces)
    assert sorted(len(part) for part in parts) == [206] * 5 + [502]
    for part in parts:
        edges = torch.cat([part[:, [0, 1]], part[:, [1, 2]], part[:, [2, 0]]])
        back = {(b, a) for a, b in edges.tolist()}
        # Each edge once in each direction: closed, and of one orientation.
        assert len(back) == len(edges) and back == {tuple(e) for e in edges.tolist()}
        assert len(part.unique()) - len(edges) // 2 + len(part) == 2  # a ball's
        assert 3e-6 < volume(vertices, part) < 4e-4  # cubic metres: 3 to 400 ml


def test_it_is_a_right_hand_of_18_centimetres(numbers):
    vertices, joints = MANO(numbers)(torch.eye(3).expand(1, 16, 3, 3),
                                     torch.zeros(1, 10))
    assert_close(vertices[0], numbers.template)
    joints = joints[0]
    assert_close(joints[0], torch.zeros(3))  # the wrist
    assert 0.17 < joints[12].norm() < 0.20
    # From the thumb's side, y, to the little finger's.
    assert (joints[[2, 5, 9, 13, 17], 1].diff() < 0).all()
    for finger in range(5):
        chain = joints[4 * finger + 1:4 * finger + 5]
        bones = chain.diff(dim=0).norm(dim=1)
        assert (bones > 0.015).all() and (bones < 0.05).all()
        # Its tip is farther from its root than all that moves with its last joint.
        own = numbers.skinning_weights[:, joint_of(finger) + 2] > 0.5
        reach = ((numbers.template - chain[0]) @ (chain[3] - chain[0]))[own]
        tip = list(FROM_VERTICES.values())[finger]
        assert own[tip] and reach.argmax() == own[:tip].sum()
    # It bends towards the palm, away from its back, z.
    pose = torch.zeros(1, 16, 3)
    for finger in range(1, 5):
        side = torch.tensor(hands.FINGERS[finger].frame()[1])
        pose[0, joint_of(finger)] = side * np.pi / 2
    _, bent = MANO(numbers)(from_axis_angle(pose), torch.zeros(1, 10))
    assert (bent[0, [8, 12, 16, 20], 2] < -0.06).all()
    assert_close(bent[0, [5, 9, 13, 17]], joints[[5, 9, 13, 17]])


def test_its_joints_are_inside(numbers):
    _, joints = MANO(numbers)(torch.eye(3).expand(1, 16, 3, 3), torch.zeros(1, 10))
    for joint, place in enumerate(joints[0]):
        if joint not in FROM_VERTICES:
            assert windings(place, numbers.template, numbers.faces) > 0.99
    for finger in range(5):  # and its roots in the palm, so that no gap is left
        palm = max(parts_of(numbers.faces), key=len)
        assert windings(joints[0, 4 * finger + 1], numbers.template, palm) > 0.99
    outside = torch.tensor([0.05, 0.2, 0.])
    assert abs(windings(outside, numbers.template, numbers.faces)) < 0.01


def test_each_joint_moves_what_its_children_move(numbers):
    """What follows a joint keeps its distances, when it alone turns."""
    pose = torch.zeros(1, 16, 3)
    pose[0, 5] = torch.tensor([0, 1., 0])  # the middle finger's second
    vertices, _ = MANO(numbers)(from_axis_angle(pose), torch.zeros(1, 10))
    follows = numbers.skinning_weights[:, [5, 6]].sum(1)
    assert PARENTS[6] == 5
    rigid = follows > 1 - 1e-6
    before, after = numbers.template[rigid], vertices[0, rigid]
    assert len(before) > 30
    assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=1e-5,
                 rtol=0)  # cdist of float32
    assert_close(vertices[0, follows == 0], numbers.template[follows == 0])


def test_layout_and_lists(root):
    assert {path.name for path in root.iterdir()} == {
        'hands.json', 'hand.safetensors', 'training', 'evaluation',
        *(f'{split}_{name}.json' for split in hands.SPLITS for name in hands.LISTS)}
    for split, count in zip(hands.SPLITS, (12, 4)):
        lists = lists_of(root, split)
        assert {name: array.shape for name, array in lists.items()} == dict(
            K=(count, 3, 3), xyz=(count, 21, 3), verts=(count, 778, 3),
            mano=(count, 1, 61), scale=(count,))
        assert sorted(path.name for path in (root / split / 'rgb').iterdir()) == [
            f'{i:08d}.jpg' for i in range(count)]
        for camera, joints, vertices in zip(*(lists[name] for name in (
                'K', 'xyz', 'verts'))):
            places = project(camera, np.concatenate([joints, vertices]))
            assert places.min() >= 0 and places.max() <= 95
            sides = np.ptp(project(camera, vertices), axis=0)
            assert 0.65 * 96 < sides.max() < 0.9 * 96
            np.testing.assert_array_equal(joints[list(FROM_VERTICES)],
                                          vertices[list(FROM_VERTICES.values())])


def test_numbers_are_of_the_hand_that_is_written(root, numbers):
    stored = load_hand(root / 'hand.safetensors')
    for name, value in numbers._asdict().items():
        assert_close(getattr(stored, name), value, atol=0, rtol=0)
    lists = lists_of(root, 'training')
    hand = MANO(stored).double()
    mano = torch.from_numpy(lists['mano'][:, 0])
    vertices, joints = hand(from_axis_angle(mano[:, :48].unflatten(1, (16, 3))),
                            mano[:, 48:58])
    moved = torch.from_numpy(lists['xyz'][:, :1]) - joints[:, :1]
    # Lists are rounded to 1e-6, of angles as well, a fifth of a metre from their axis.
    for name, own in (('verts', vertices), ('xyz', joints)):
        assert_close(own + moved, torch.from_numpy(lists[name]), atol=4e-6, rtol=0)
    for camera, joints, entry, scale in zip(*(lists[name] for name in (
            'K', 'xyz', 'mano', 'scale'))):
        np.testing.assert_allclose(entry[0, 58:60], project(camera, joints[:1])[0],
                                   atol=2e-3)  # micrometres, as pixels
        assert entry[0, 60] == 1
        np.testing.assert_allclose(scale, np.linalg.norm(joints[10] - joints[9]),
                                   atol=2e-6)


def test_the_picture_shows_where_the_lists_say(tmp_path, monkeypatch, numbers):
    monkeypatch.setattr(hands, 'texture', lambda random, size: np.zeros(
        (size, size, 3), np.uint8))
    monkeypatch.setattr(hands, 'SKINS', np.full((2, 3), 240.))
    monkeypatch.setattr(hands, 'GLOVE', np.full((5, 3), 240.))
    root = generate_hands(tmp_path / 'hands', SPEC)
    lists = lists_of(root, 'training')
    for i, (camera, vertices) in enumerate(zip(lists['K'], lists['verts'])):
        expected = np.zeros((96 * 8, 96 * 8), np.uint8)
        points = project(camera, vertices)
        for face in numbers.faces.numpy():
            cv2.fillConvexPoly(expected, np.rint(
                (points[face] + .5) * 8).astype(np.int32), 255)
        expected = cv2.resize(expected, (96, 96), interpolation=cv2.INTER_AREA) / 255
        picture = cv2.imread(str(root / 'training' / 'rgb' / f'{i:08d}.jpg'))
        drawn = picture.mean(2)
        # A pixel apart from the edge, where JPEG blurs.
        square = np.ones((5, 5))
        assert (drawn[cv2.erode(expected, square) == 1] > 50).all()
        assert (drawn[cv2.dilate(expected, square) == 0] < 25).all()
        assert expected.sum() > 500


def test_a_glove_tells_fingers_apart(numbers):
    faces = numbers.faces.numpy()
    fingers = hands.finger_of(faces, numbers.skinning_weights.numpy())
    assert fingers.shape == (len(faces), ) and set(fingers) == set(range(6))
    for finger, tip in enumerate(FROM_VERTICES.values()):
        assert (fingers[(faces == tip).any(1)] == finger).all()


def test_poses_vary():
    random = np.random.RandomState(0)
    poses = np.stack([hands.draw_pose(random) for _ in range(500)])
    for finger in range(5):
        along, side, back = hands.FINGERS[finger].frame()
        first = joint_of(finger)
        bends = poses[:, first:first + 3] @ side
        most = hands.MOST_BENT if finger else hands.THUMB_MOST_BENT
        assert (np.ptp(bends, axis=0) > .9 * most).all()
        assert bends.min() > -0.2 and (bends <= 1.1 * most).all()
        assert (np.corrcoef(bends.T) > .7).all()  # a finger's joints bend together
        np.testing.assert_allclose(poses[:, first:first + 3] @ along, 0, atol=1e-12)
        assert .02 < (poses[:, first] @ back).std() < .3
    turned = np.stack([cv2.Rodrigues(pose)[0] @ [0, 0, 1] for pose in poses[:, 0]])
    # The palm looks to the camera, less a tilt of 30 degrees.
    assert (turned[:, 2] >= np.cos(hands.MAX_TILT) - 1e-9).all()
    up = np.stack([cv2.Rodrigues(pose)[0] @ [1, 0, 0] for pose in poses[:, 0]])
    directions = np.arctan2(up[:, 1], up[:, 0]) + np.pi / 2  # from fingers up
    within = 2 * hands.MAX_TURN  # of a tilted hand, they turn further
    assert np.histogram(directions, 4, (-within, within))[0].sum() == len(poses)
    assert np.ptp(directions) > hands.MAX_TURN


def test_same_seed_same_lists_and_others_differ(root, tmp_path):
    same = generate_hands(tmp_path / 'same', SPEC)
    other = generate_hands(tmp_path / 'other', HandsSpec(
        num_train=12, num_evaluation=4, image_size=96, seed=4))
    assert digest_of(same) == digest_of(root) != digest_of(other)
    name = 'training/rgb/00000003.jpg'
    assert (same / name).read_bytes() == (root / name).read_bytes()
    assert (other / name).read_bytes() != (root / name).read_bytes()
    xyz = [lists_of(folder, split)['xyz'][0] for folder in (root, other)
           for split in hands.SPLITS]
    assert len({array.tobytes() for array in xyz}) == 4
    longer = generate_hands(tmp_path / 'longer', HandsSpec(
        num_train=13, num_evaluation=4, image_size=96, seed=3))
    np.testing.assert_array_equal(lists_of(longer, 'training')['mano'][:12],
                                  lists_of(root, 'training')['mano'])


def test_again_does_nothing_and_another_folder_is_refused(root, tmp_path):
    before = (root / 'hands.json').stat().st_mtime_ns
    assert generate_hands(root, SPEC) == root
    assert (root / 'hands.json').stat().st_mtime_ns == before
    with pytest.raises(DataError, match='choose another folder'):
        generate_hands(root, HandsSpec())
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(DataError, match='choose another folder'):
        generate_hands(tmp_path, SPEC)
    with pytest.raises(DataError, match='choose another folder'):
        generate_hands(tmp_path / 'mine.txt', SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError('disk full')
    monkeypatch.setattr(hands, 'place_before_camera', fail)
    with pytest.raises(OSError, match='disk full'):
        generate_hands(tmp_path / 'hands', SPEC)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('wrong', [
    dict(num_train=0), dict(num_evaluation=0), dict(image_size=63), dict(seed=-1),
    dict(seed=2**32)])
def test_bad_spec(wrong):
    with pytest.raises(ArgumentError, match='give'):
        HandsSpec(**wrong)
