"""A picture, its camera and its points stay one: 2D = K xyz / z, before and after."""
import cv2
import numpy as np
import pytest

from mmfastvit import ArgumentError
from mmfastvit.datasets.hand_transforms import (
    HandCrop,
    HandFlip,
    PackHandInputs,
)
from mmfastvit.datasets.projection import project

SPOT = 5  # pixels, the radius of what marks a point in a picture


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def item(height=200, width=224):
    """Return a picture with a spot where the camera sees the first joint."""
    rng = np.random.default_rng(1)
    camera = np.array([[400., 0, 110], [0, 410, 95], [0, 0, 1]], np.float32)
    joints = (rng.uniform(-0.06, 0.06, (21, 3)) + [0, 0, 0.6]).astype(np.float32)
    picture = np.zeros((height, width, 3), np.uint8)
    for x, y in project(camera, joints)[:1]:
        cv2.circle(picture, (round(x * 16), round(y * 16)), SPOT * 16, (255, 255, 255),
                   -1, cv2.LINE_AA, 4)
    return dict(img=picture, K=camera, gt_joints=joints, img_path='a.jpg',
                gt_vertices=rng.normal(0, 0.02, (778, 3)).astype(np.float32) + 0.6,
                ori_shape=(height, width), img_shape=(height, width))


def spot(picture):
    """Return where a picture is bright, x and y."""
    weights = picture[..., 0].astype(float)
    y, x = np.mgrid[:picture.shape[0], :picture.shape[1]]
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


TRANSFORMS = {
    'whole': [HandCrop(160)],
    'larger': [HandCrop(400)],
    'turned': [HandCrop(224, scale=(1.5, 1.5), rotation=90)],
    'moved': [HandCrop(224, scale=(1.3, 1.6), shift=0.1, rotation=30)],
    'joints': [HandCrop(96, 'joints', scale=(1.5, 1.5), rotation=45)],
    'mirrored': [HandFlip(1.)],
    'all': [HandCrop(128, scale=(1.2, 1.4), rotation=90), HandFlip(1.)],
    'mirrored first': [HandFlip(1.), HandCrop(128, scale=(1.2, 1.4), rotation=90)]}


@pytest.mark.parametrize('name', TRANSFORMS)
def test_points_are_where_the_camera_sees_them(name):
    before = item()
    after = item()
    for transform in TRANSFORMS[name]:
        after = transform(after)
    pixels = project(after['K'], after['gt_joints'])
    # The spot's centre is found to a tenth of a pixel.
    np.testing.assert_allclose(spot(after['img']), pixels[0], atol=0.15)
    # All joints moved as the pixels did.
    moved = project(before['K'], before['gt_joints'])
    moved = moved @ after['warp'][:2, :2].T + after['warp'][:2, 2]
    np.testing.assert_allclose(pixels, moved, atol=2e-3)
    # Hands stay of their size and shape, but for the mirror.
    for key in ('gt_joints', 'gt_vertices'):
        assert after[key].dtype == np.float32
        np.testing.assert_allclose(
            np.linalg.norm(after[key] - after[key][0], axis=1),
            np.linalg.norm(before[key] - before[key][0], axis=1), atol=1e-6)
        np.testing.assert_allclose(after[key][:, 2], before[key][:, 2], atol=1e-6)


def test_rotation_turns_the_hand_with_its_picture():
    after = HandCrop(224, rotation=90)(item())
    turn = after['warp'][:2, :2]
    turn = turn / np.sqrt(np.linalg.det(turn))
    np.testing.assert_allclose(after['gt_joints'][:, :2],
                               item()['gt_joints'][:, :2] @ turn.T, atol=1e-6)
    assert abs(turn[0, 1]) > 0.05


def test_after_mmcv_resize(tmp_path):
    """MMCV's Resize, which knows no cameras, may come first."""
    from mmcv.transforms import Resize
    after = Resize(scale=(112, 112), keep_ratio=True)(item())
    packed = PackHandInputs()(dict(after))
    cut = HandCrop(112)(after)
    np.testing.assert_allclose(spot(cut['img']),
                               project(cut['K'], cut['gt_joints'])[0], atol=0.15)
    # Without a crop, shares of the picture are those of the file's.
    pixels = project(item()['K'], item()['gt_joints'])
    np.testing.assert_allclose(packed['data_samples'].gt_uv,
                               (pixels + 0.5) / (224, 200), atol=1e-5)


@pytest.mark.parametrize('name', TRANSFORMS)
def test_samples_lead_back_to_the_file(name):
    after = item()
    for transform in TRANSFORMS[name]:
        after = transform(after)
    packed = PackHandInputs()(after)
    sample = packed['data_samples']
    height, width = packed['inputs'].shape[1:]
    back = sample.to_file(sample.gt_uv.numpy() * (width, height) - 0.5)
    np.testing.assert_allclose(back, project(item()['K'], item()['gt_joints']),
                               atol=2e-3)


def test_a_photograph_has_no_truth():
    results = {key: value for key, value in item().items()
               if key in ('img', 'img_path', 'ori_shape', 'img_shape')}
    packed = PackHandInputs()(HandCrop(64)(results))
    assert packed['inputs'].shape == (3, 64, 64)
    assert list(packed['data_samples'].keys()) == []
    with pytest.raises(ArgumentError, match="around='picture'"):
        HandCrop(64, 'joints')(dict(results))


@pytest.mark.parametrize('options', [dict(around='box'), dict(scale=(0, 1)),
                                     dict(scale=(2, 1))])
def test_unknown_options_are_refused(options):
    with pytest.raises(ArgumentError):
        HandCrop(64, **options)
