"""MANO's equations, on a hand whose numbers are made up."""
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from mmfastvit import CheckpointError
from mmfastvit.models.hands import MANO
from mmfastvit.models.hands.mano import (
    FROM_JOINTS,
    FROM_VERTICES,
    PARENTS,
    VERTICES,
    MANONumbers,
    load_hand,
)
from mmfastvit.models.hands.rotations import from_axis_angle, from_six_numbers


@pytest.fixture
def numbers():
    torch.manual_seed(0)
    regressor = torch.rand(16, VERTICES, dtype=torch.float64)
    weights = torch.rand(VERTICES, 16, dtype=torch.float64) ** 8
    return MANONumbers(
        template=0.1 * torch.randn(VERTICES, 3, dtype=torch.float64),
        shape_directions=0.01 * torch.randn(VERTICES, 3, 10, dtype=torch.float64),
        pose_directions=0.01 * torch.randn(VERTICES, 3, 135, dtype=torch.float64),
        joint_regressor=regressor / regressor.sum(1, keepdim=True),
        skinning_weights=weights / weights.sum(1, keepdim=True),
        mean_pose=torch.zeros(45, dtype=torch.float64),
        faces=torch.randint(VERTICES, (1538, 3)))


def at_rest(batch=1):
    return (torch.eye(3, dtype=torch.float64).repeat(batch, 16, 1, 1),
            torch.zeros(batch, 10, dtype=torch.float64))


def test_at_rest_it_is_the_template(numbers):
    vertices, joints = MANO(numbers)(*at_rest())
    assert_close(vertices[0], numbers.template)
    own = numbers.joint_regressor @ numbers.template
    for place, joint in FROM_JOINTS.items():
        assert_close(joints[0, place], own[joint])
    for place, vertex in FROM_VERTICES.items():
        assert_close(joints[0, place], numbers.template[vertex])
    assert sorted([*FROM_JOINTS, *FROM_VERTICES]) == list(range(21))


def test_the_wrist_turns_the_whole_hand(numbers):
    rotations, shape = at_rest()
    rotations[0, 0] = torch.from_numpy(
        Rotation.from_euler('xyz', [0.3, -1., 2.]).as_matrix())
    shape[0, 3] = 0.7
    hand = MANO(numbers)
    vertices, _ = hand(rotations, shape)
    before, joints = hand(at_rest()[0], shape)
    wrist = joints[:, :1]
    assert_close(vertices, (before - wrist) @ rotations[0, 0].T + wrist)


def test_one_joint_turned_by_90_degrees(numbers):
    """Worked by hand: its vertices turn about it, and so do its children's."""
    joint, child = 4, 5  # the middle finger's first two
    owner = torch.arange(VERTICES) % 16
    numbers = numbers._replace(
        pose_directions=torch.zeros_like(numbers.pose_directions),
        skinning_weights=torch.nn.functional.one_hot(owner, 16).double())
    rotations, shape = at_rest()
    rotations[0, joint] = from_axis_angle(
        torch.tensor([0., 0., math.pi / 2], dtype=torch.float64))
    vertices, joints = MANO(numbers)(rotations, shape)
    places = numbers.joint_regressor @ numbers.template
    centre, expected = places[joint], numbers.template.clone()
    for moves in (joint, child, 6):
        x, y, z = (numbers.template[owner == moves] - centre).unbind(1)
        expected[owner == moves] = torch.stack([-y, x, z], 1) + centre
    assert_close(vertices[0], expected)
    x, y, z = places[child] - centre
    assert_close(joints[0, 10], torch.stack([-y, x, z]) + centre)
    assert PARENTS[child] == joint


def test_pose_and_shape_add_what_they_say(numbers):
    rotations, shape = at_rest()
    shape[0] = torch.randn(10, dtype=torch.float64)
    vertices, _ = MANO(numbers)(rotations, shape)
    assert_close(vertices[0], numbers.template + numbers.shape_directions @ shape[0])
    only = numbers._replace(skinning_weights=torch.eye(16)[:1].repeat(
        VERTICES, 1).double())  # the wrist alone moves them
    rotations[0, 7] = from_axis_angle(torch.tensor([0.1, 0.2, 0.3]).double())
    vertices, _ = MANO(only)(rotations, torch.zeros_like(shape))
    bends = (rotations[0, 1:] - torch.eye(3)).flatten()
    assert_close(vertices[0], numbers.template + numbers.pose_directions @ bends)


def test_a_batch_is_its_hands(numbers):
    rotations = from_axis_angle(torch.randn(3, 16, 3, dtype=torch.float64))
    shapes = torch.randn(3, 10, dtype=torch.float64)
    hand = MANO(numbers)
    together = hand(rotations, shapes)
    for i in range(3):
        alone = hand(rotations[i:i + 1], shapes[i:i + 1])
        assert_close([part[i:i + 1] for part in together], list(alone))


def test_checkpoints_do_not_carry_it(numbers):
    assert not MANO(numbers).state_dict()


def test_axis_and_angle_against_scipy():
    vectors = np.random.default_rng(0).normal(size=(50, 3)) * 2
    vectors[0] = 0.
    assert_close(from_axis_angle(torch.from_numpy(vectors)),
                 torch.from_numpy(Rotation.from_rotvec(vectors).as_matrix()))
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    gradient, = torch.autograd.grad(from_axis_angle(zero)[2, 1], zero)
    assert_close(gradient, torch.tensor([1., 0., 0.], dtype=torch.float64))


def test_six_numbers_are_a_rotation():
    numbers = torch.randn(20, 6, dtype=torch.float64)
    found = from_six_numbers(numbers)
    assert_close(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert_close(torch.linalg.det(found), torch.ones(20, dtype=torch.float64))
    assert_close(from_six_numbers(found.mT[:, :2].flatten(1)), found)  # of its columns


def test_a_hand_file_is_a_hand(numbers, tmp_path):
    save_file(numbers._asdict(), tmp_path / 'hand.safetensors')
    hand = load_hand(tmp_path / 'hand.safetensors')
    assert hand.faces.dtype == torch.int64
    assert_close(hand, MANONumbers(*[
        value.float() if value.is_floating_point() else value for value in numbers]),
        rtol=0, atol=0)
    vertices, joints = MANO(hand)(*[part.float() for part in at_rest()])
    assert vertices.dtype == joints.dtype == torch.float32
    with pytest.raises(CheckpointError, match='there is no hand file'):
        load_hand(tmp_path / 'MANO_RIGHT.pkl')
