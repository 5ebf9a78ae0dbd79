"""Hands from the generator to a metric, a picture and a deploy form."""
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from torch.testing import assert_close

from conftest import ROOT
from mmfastvit import ArgumentError
from mmfastvit.apis.deploy import reparameterize_checkpoint
from mmfastvit.apis.visualize import draw_ground_truth, draw_predictions
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.datasets.hands import HandsSpec, generate_hands
from mmfastvit.engine import runner
from mmfastvit.engine.config import load_config
from mmfastvit.engine.hand_hooks import HandStatisticsHook
from mmfastvit.models.hands import HandDataSample, MeshTokenHead
from mmfastvit.models.hands.joint_regressor import freihand_regressor
from mmfastvit.models.hands.mano import load_hand

CONFIG = ROOT / 'configs' / 'handmesh_fastvit_sa12_hands.py'
pytestmark = pytest.mark.xdist_group('hand training')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_hands(tmp_path_factory.mktemp('data') / 'hands', HandsSpec(
        num_train=24, num_evaluation=4, image_size=64))


@pytest.fixture(scope='module', params=['MeshTokenHead', 'MANOHead'])
def trained(root, request, tmp_path_factory):
    """Return config, runner and metrics of a tiny network after an epoch."""
    changes = {
        'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1,
        'model.backbone.arch': 't8', 'model.neck.in_channels': 384,
        'model.head.type': request.param, 'model.head.in_channels': 768,
        'model.head.lateral_channels': 96,
        'train_dataloader.batch_size': 8}
    for split in ('train', 'val', 'test'):
        changes |= {f'{split}_dataloader.dataset.data_root': str(root),
                    f'{split}_dataloader.num_workers': 0,
                    f'{split}_dataloader.persistent_workers': False}
    cfg = load_config(CONFIG, changes, tmp_path_factory.mktemp(request.param))
    if request.param == 'MANOHead':
        del cfg.model.head['drop_path_rate'], cfg.model.head['lateral_channels']
        cfg.model.head.hand_file = str(root / 'hand.safetensors')
    torch.manual_seed(0)
    yield cfg, runner.train(cfg)
    DefaultScope._instance_dict.clear()


def test_the_metric_is_of_hands(trained):
    cfg, _ = trained
    metrics = runner.test(cfg, cfg.work_dir, keep_log=False)
    assert set(metrics) == {f'freihand/{name}' for name in (
        'PA-MPJPE', 'PA-MPVPE', 'F@5', 'F@15', 'AUC', 'PA-MPJPE_of_mean_hand')}
    # Of millimetres: a hand is not a metre large, and untrained ones do not fit.
    assert 2 < metrics['freihand/PA-MPJPE'] < 200
    assert 2 < metrics['freihand/PA-MPJPE_of_mean_hand'] < 50


def test_joints_are_fitted_before_training(trained, root):
    cfg, trained_runner = trained
    if cfg.model.head.type != 'MeshTokenHead':
        pytest.skip('MANO knows its joints')
    stored = read_state_dict(cfg.work_dir + '/epoch_1.pth')['head.joint_regressor']
    assert_close(stored, trained_runner.model.head.joint_regressor)
    dataset = trained_runner.train_dataloader.dataset
    joints, vertices = dataset.hands()
    assert np.abs(stored.numpy() @ vertices - joints).max() < 1e-4  # metres
    # Weights of other hands, from which training starts, are fitted anew.
    head = trained_runner.model.head
    with torch.no_grad():
        head.joint_regressor.copy_(torch.rand(21, 778))
    HandStatisticsHook().before_train(trained_runner)
    assert_close(head.joint_regressor, stored)
    loop, loader = trained_runner.train_loop, trained_runner.train_dataloader
    loop.dataloader = SimpleNamespace(dataset=[])
    with pytest.raises(ArgumentError, match='model.head.hand_file'):
        HandStatisticsHook().before_train(trained_runner)
    loop.dataloader = loader


def test_a_hand_file_says_how_joints_are_sums(trained, root):
    _, trained_runner = trained
    known = freihand_regressor(load_hand(root / 'hand.safetensors').joint_regressor)
    head = MeshTokenHead(768, hand_file=str(root / 'hand.safetensors'))
    own = SimpleNamespace(
        model=SimpleNamespace(head=head), logger=trained_runner.logger,
        train_dataloader=trained_runner.train_dataloader)
    HandStatisticsHook().before_train(own)
    assert_close(head.joint_regressor, known, rtol=0, atol=0)
    assert 0.01 < head.mean_vertices.abs().max() < 0.2  # metres
    joints, vertices = trained_runner.train_dataloader.dataset.hands()
    # Its joints are MANO's of the hand at rest; bent, they are sums nearly.
    assert np.abs(known.numpy() @ vertices - joints).max() < 0.02  # metres


@pytest.mark.parametrize('size, cut, message', [
    ((64, 48), (64, 48), 'pad_size_divisor=32'), ((64, 64), (64, 50), 'HandCrop')])
def test_sizes_that_are_no_places_are_refused(trained, size, cut, message):
    model = trained[1].model
    sample = HandDataSample(metainfo=dict(img_shape=cut))
    with pytest.raises(ArgumentError, match=message):
        model(torch.rand(1, 3, *size), [sample], mode='loss')


def test_pictures(trained, root, tmp_path):
    """Truth, prediction and side beside each other; of a photograph, no truth."""
    cfg, _ = trained
    drawn = draw_predictions(cfg, cfg.work_dir, str(tmp_path / 'test'), num_pictures=2,
                             features=True)
    assert [cv2.imread(str(path)).shape for path in drawn[::2]] == [(64, 192, 3)] * 2
    own = cv2.imread(str(root / 'evaluation/rgb/00000000.jpg'))
    truth = cv2.imread(str(drawn[0]))[:, :64].astype(int)
    changed = np.abs(truth - own).max(2) > 40
    assert 0.02 < changed.mean() < 0.6
    photograph = tmp_path / 'photo.png'
    cv2.imwrite(str(photograph), np.full((50, 90, 3), 99, np.uint8))
    one, = draw_predictions(cfg, cfg.work_dir, str(tmp_path / 'one'), str(photograph))
    assert cv2.imread(str(one)).shape == (50, 140, 3)
    train, = draw_ground_truth(cfg, str(tmp_path / 'train'), num_pictures=1)
    assert cv2.imread(str(train)).shape == (96, 96, 3)


def test_deploy_form(trained, tmp_path):
    cfg, _ = trained
    reparameterize_checkpoint(cfg, cfg.work_dir, str(tmp_path / 'deploy.pth'))
    deployed = load_config(tmp_path / 'deploy.py')
    before = runner.test(cfg, cfg.work_dir, keep_log=False)
    after = runner.test(deployed, str(tmp_path / 'deploy.pth'), keep_log=False)
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=1e-2), name
