"""Heads for hand meshes: their parts against PyTorch's, their losses by hand."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from safetensors.torch import save_file
from torch.testing import assert_close

from mmfastvit import hands, reparameterize
from mmfastvit.models.hands.head import ROOT, HandHead, HandPrediction
from mmfastvit.models.hands.joint_regressor import (
    fit_joint_regressor,
    freihand_regressor,
)
from mmfastvit.models.hands.mano import FROM_JOINTS, FROM_VERTICES, VERTICES
from mmfastvit.models.hands.sample import HandDataSample
from mmfastvit.models.hands.token_head import pick, position_code


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module')
def hand_file(tmp_path_factory):
    """A hand in MANO's form, of random numbers."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(*shape, generator=generator)

    numbers = dict(
        template=random(VERTICES, 3) * 0.1, shape_directions=random(VERTICES, 3, 10),
        pose_directions=random(VERTICES, 3, 135) * 1e-3,
        joint_regressor=random(16, VERTICES).softmax(1),
        skinning_weights=random(VERTICES, 16).softmax(1), mean_pose=random(45),
        faces=torch.arange(VERTICES - 2)[:, None] + torch.arange(3))
    path = tmp_path_factory.mktemp('hand') / 'hand.safetensors'
    save_file(numbers, str(path))
    return str(path)


def samples(count, **fields):
    truth = dict(gt_uv=torch.rand(count, 21, 2), gt_joints=torch.rand(count, 21, 3),
                 gt_vertices=torch.rand(count, VERTICES, 3)) | fields
    found = [HandDataSample() for _ in range(count)]
    for i, sample in enumerate(found):
        for name, values in truth.items():
            sample.set_field(values[i], name)
    return found


@pytest.mark.parametrize('size', [(7, 7), (3, 5)])
def test_pick_is_grid_sample(size):
    maps = torch.rand(2, 4, *size, dtype=torch.float64, requires_grad=True)
    places = torch.rand(2, 9, 2, dtype=torch.float64) * 1.4 - 0.2  # some outside
    expected = F.grid_sample(maps, places[:, None] * 2 - 1, mode='bilinear',
                             padding_mode='border', align_corners=False)
    found = pick(maps, places)
    assert_close(found, expected[:, :, 0].transpose(1, 2))
    weight = torch.rand_like(found)
    for own, other in zip(
            torch.autograd.grad((found * weight).sum(), maps, retain_graph=True),
            torch.autograd.grad((expected[:, :, 0].transpose(1, 2) * weight).sum(),
                                maps)):
        assert_close(own, other)


def test_places_have_codes_of_their_own():
    places = torch.rand(1, 50, 2)
    code = position_code(places, 256)
    assert code.shape == (1, 50, 256) and code.abs().max() <= 1
    distances = torch.cdist(code[0], code[0])
    assert distances[~torch.eye(50, dtype=bool)].min() > 1


@pytest.mark.parametrize('kind', ['MeshTokenHead', 'MANOHead'])
@pytest.mark.parametrize('size', [(7, 7), (3, 4), (1, 1)])
def test_heads_have_one_interface(kind, size, hand_file):
    head = MODELS.build(dict(type=kind, in_channels=16, hand_file=hand_file))
    head.init_weights()
    prediction = head([torch.rand(2, 16, *size)])
    assert isinstance(prediction, HandPrediction)
    assert prediction.uv.shape == (2, 21, 2)
    assert prediction.joints.shape == (2, 21, 3)
    assert prediction.vertices.shape == (2, VERTICES, 3)
    assert_close(prediction.joints[:, ROOT], torch.zeros(2, 3))
    losses = head.loss([torch.rand(2, 16, *size)], samples(2))
    heat = {'loss_heat'} if kind == 'MeshTokenHead' else set()
    assert set(losses) == {'loss_uv', 'loss_joints', 'loss_vertices'} | heat
    sum(losses.values()).backward()
    missing = [name for name, parameter in head.named_parameters()
               if parameter.grad is None or not parameter.grad.isfinite().all()]
    assert not missing


def test_joints_are_sums_of_the_predicted_vertices(hand_file):
    head = hands.MeshTokenHead(16, hand_file=hand_file).eval()
    assert not head.fits_regressor
    assert 'joint_regressor' not in head.state_dict()
    prediction = head([torch.rand(2, 16, 4, 4)])
    joints = head.joint_regressor @ prediction.vertices
    assert_close(prediction.joints, joints - joints[:, ROOT:ROOT + 1])
    for joint, vertex in FROM_VERTICES.items():
        assert_close(head.joint_regressor[joint], torch.eye(VERTICES)[vertex])


def test_mano_head_draws_its_mean_pose_first(hand_file):
    """Before training, whatever the picture: MANO's mean hand, in the middle."""
    from mmfastvit.models.hands.mano import MANO, load_hand
    from mmfastvit.models.hands.rotations import from_axis_angle
    head = hands.MANOHead(16, hand_file).eval()
    for linear in (head.pose, head.shape, head.camera):
        torch.nn.init.zeros_(linear.weight)
    head.shape.bias.data.zero_()
    numbers = load_hand(hand_file)
    pose = torch.cat([torch.zeros(3), numbers.mean_pose]).view(1, 16, 3)
    vertices, joints = MANO(numbers)(from_axis_angle(pose), torch.zeros(1, 10))
    prediction = head([torch.rand(1, 16, 4, 4)])
    assert_close(prediction.vertices, vertices - joints[:, ROOT:ROOT + 1],
                 rtol=1e-5, atol=1e-6)
    assert_close(prediction.uv[:, ROOT], torch.full((1, 2), 0.5))


def test_uv_keeps_the_shape_of_hands_in_oblong_pictures(hand_file):
    head = hands.MANOHead(16, hand_file).eval()
    x = torch.rand(1, 16, 1, 1)
    square, wide = head([x.expand(1, 16, 4, 4)]), head([x.expand(1, 16, 4, 8)])
    shares = square.uv - square.uv[:, ROOT:ROOT + 1]
    oblong = wide.uv - wide.uv[:, ROOT:ROOT + 1]
    assert_close(oblong * torch.tensor([8., 4.]), shares * 8)


def test_the_mean_hand_comes_first():
    """What layers add is zero: the mean hand of what was fitted, for any picture."""
    head = hands.MeshTokenHead(16).eval()
    torch.nn.init.zeros_(head.vertices.weight)
    torch.nn.init.zeros_(head.vertices.bias)
    joints, vertices = np.random.rand(5, 21, 3), np.random.rand(5, VERTICES, 3)
    assert '5 hands' in head.fit(joints, vertices)
    mean = torch.from_numpy(vertices.mean(0) - joints[:, ROOT].mean(0)).float()
    assert_close(head.mean_vertices, mean)
    found = head([torch.rand(1, 16, 4, 4)])
    root = head.joint_regressor[ROOT] @ mean
    assert_close(found.vertices[0], mean - root, rtol=1e-5, atol=1e-5)


def test_heat_is_the_cross_entropy_of_the_cells_around_a_joint():
    head = hands.MeshTokenHead(16, loss_weights=dict(
        uv=1., joints=1., vertices=1., heat=2.))
    uv = torch.full((1, 21, 2), 0.5)
    uv[:, 1:] = 3.  # outside, where nobody sees the joint
    maps = [torch.rand(1, 16, 1, 1)]
    _, heat = head.fine_maps(maps)
    truth = samples(1, gt_uv=uv)
    found = head.loss(maps, truth)['loss_heat']
    # The middle of 4x4 cells lies between four of them.
    logs = heat[0, 0].flatten().log_softmax(0).view(4, 4)
    assert_close(found, -2 * logs[1:3, 1:3].mean())


def test_losses_by_hand():
    class Fixed(HandHead):
        def forward(self, x):
            return HandPrediction(torch.full((1, 21, 2), 0.5), torch.zeros(1, 21, 3),
                                  torch.zeros(1, VERTICES, 3))

    uv = torch.full((1, 21, 2), 0.75)
    uv[:, :20] = 3.  # outside, where nobody sees the joint
    joints = torch.full((1, 21, 3), 0.7)
    joints[:, 0] += 0.21
    found = Fixed(dict(uv=2., joints=3., vertices=5.)).loss(None, samples(
        1, gt_uv=uv, gt_joints=joints,
        gt_vertices=torch.full((1, VERTICES, 3), 0.71)))
    assert_close(found['loss_uv'], torch.tensor(2 * 0.25))
    assert_close(found['loss_joints'], torch.tensor(3 * 0.21 / 21))
    assert_close(found['loss_vertices'], torch.tensor(5 * 0.01))


def test_regressors_are_found_again():
    """Of hands that a few numbers bend, on hands that were not fitted."""
    rng = np.random.default_rng(0)
    regressor = freihand_regressor(torch.rand(16, VERTICES).softmax(1)).numpy()
    basis = rng.normal(0, 0.01, (60, VERTICES, 3))
    vertices = (np.einsum('hk,kvn->hvn', rng.normal(size=(200, 60)), basis)
                + rng.normal(size=(200, 1, 3)))
    joints = regressor @ vertices
    fitted = fit_joint_regressor(joints[:150].astype(np.float32),
                                 vertices[:150].astype(np.float32))
    assert_close(fitted.sum(1), torch.ones(21), rtol=0, atol=1e-5)
    errors = np.linalg.norm(fitted.numpy() @ vertices[150:] - joints[150:], axis=-1)
    spread = np.linalg.norm(joints - joints.mean(1, keepdims=True), axis=-1).mean()
    assert errors.max() < 0.01 * spread


def test_freihand_regressor_names_mano_joints_and_tips():
    regressor = torch.rand(16, VERTICES)
    found = freihand_regressor(regressor)
    for joint, of_mano in FROM_JOINTS.items():
        assert_close(found[joint], regressor[of_mano])


def test_estimator(hand_file):
    model = hands.HandMeshEstimator(
        dict(type='FastViT', arch='t8', out_indices=(1, 3), out_norm_cfg=None),
        dict(type='MeshTokenHead', in_channels=768, lateral_channels=96,
             hand_file=hand_file),
        dict(type='FastViTNeck', in_channels=384, pool=False),
        dict(type='ImgDataPreprocessor', mean=[0.] * 3, std=[255.] * 3)).eval()
    pictures = torch.randint(0, 256, (2, 3, 64, 96)).to(torch.uint8)
    with torch.no_grad():
        uv, joints, vertices = model(pictures / 255.)
        found = samples(2)
        for sample in found:
            sample.set_metainfo(dict(scale_factor=(0.5, 0.25)))
        found = model.test_step(dict(inputs=list(pictures), data_samples=found))
        deployed = reparameterize(model)(pictures / 255.)
    for i, sample in enumerate(found):
        # Shares of the input, half as wide as the file and a quarter as high.
        assert_close(sample.pred_uv, uv[i] * torch.tensor([192., 256.]) - 0.5,
                     rtol=1e-4, atol=1e-3)
        assert_close(sample.pred_joints, joints[i], rtol=1e-4, atol=1e-5)
        assert_close(sample.pred_vertices, vertices[i], rtol=1e-4, atol=1e-5)
    for own, other in zip(deployed, (uv, joints, vertices)):
        assert_close(own, other, rtol=1e-4, atol=1e-4)
