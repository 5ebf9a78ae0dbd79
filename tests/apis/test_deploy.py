"""A deploy checkpoint is compared with independent branches, and refused."""
import pytest
import torch
from mmengine.registry import DefaultScope

from helpers import TASKS, shapes_case
from mmfastvit import ArgumentError, CheckpointError
from mmfastvit.apis import deploy
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes
from mmfastvit.engine.config import load_config
from mmfastvit.models.layers import RepMixer

PREDICTIONS = dict(
    maskrcnn={'bboxes', 'scores', 'labels', 'masks'},
    fpn={'data'},
    classifier={'pred_label', 'pred_score'})
REAL = dict(maskrcnn='bboxes', classifier='pred_score')


@pytest.fixture(scope='module', params=TASKS)
def case(request, tmp_path_factory):
    """A config with data, its task, and a folder with its checkpoint."""
    folder = tmp_path_factory.mktemp('deploy')
    root = generate_shapes(folder / 'shapes', ShapesSpec(1, 2, 64))
    cfg, checkpoint = shapes_case(request.param, root, folder)
    yield cfg, folder, request.param
    DefaultScope._instance_dict.clear()


def test_writes_what_agrees_and_its_config(case):
    cfg, folder, task = case
    comparison = deploy.reparameterize_checkpoint(
        cfg, folder / 'model.pth', folder / 'deploy.pth', num_pictures=2)
    assert comparison.pictures == 2
    assert 0 < comparison.features < deploy.TOLERANCE
    assert PREDICTIONS[task] == set(comparison.predictions)
    if task != 'fpn':  # whose labels are the same
        # Rounding differs: the two were not compared with themselves.
        assert comparison.predictions[REAL[task]] > 0
    twin = load_config(folder / 'deploy.py')
    model = deploy.build_runner(twin).model
    assert model.backbone.deploy
    load_weights(model, folder / 'deploy.pth')
    with pytest.raises(CheckpointError, match='in train form, the model in deploy'):
        load_weights(model, folder / 'model.pth')
    model = deploy.build_runner(cfg).model
    with pytest.raises(CheckpointError, match='config that was written beside it'):
        load_weights(model, folder / 'deploy.pth')
    # MMEngine's own, lenient loader does not skip over it either.
    weights = torch.load(folder / 'deploy.pth', weights_only=True)['state_dict']
    with pytest.raises(CheckpointError, match='build the model with deploy=True'):
        model.load_state_dict(weights, strict=False)


def test_refuses_a_wrong_fold(case, monkeypatch):
    cfg, folder, _ = case
    right = RepMixer.equivalent
    monkeypatch.setattr(RepMixer, 'equivalent', lambda self: tuple(
        1.01 * t for t in right(self)))
    with pytest.raises(CheckpointError, match='was not written'):
        deploy.reparameterize_checkpoint(
            cfg, folder / 'model.pth', folder / 'wrong.pth')
    assert not [p.name for p in folder.iterdir() if 'wrong' in p.name]


def test_a_nan_never_agrees(case):
    cfg, folder, _ = case
    weights = torch.load(folder / 'model.pth', weights_only=True)
    weights['backbone.stem.0.convs.0.conv.weight'][0] = float('nan')
    torch.save(weights, folder / 'nan.pth')
    with pytest.raises(CheckpointError, match='1 not finite'):
        deploy.reparameterize_checkpoint(
            cfg, folder / 'nan.pth', folder / 'wrong.pth')
    assert not [p.name for p in folder.iterdir() if 'wrong' in p.name]


def test_a_name_without_room_for_the_config_is_refused(case):
    cfg, folder, _ = case
    with pytest.raises(ArgumentError, match='ends in .pth'):
        deploy.reparameterize_checkpoint(cfg, folder / 'model.pth',
                                         folder / 'deploy.py')


def test_what_is_needed_is_not_replaced(case, tmp_path):
    cfg, folder, _ = case
    checkpoint = tmp_path / 'epoch_1.pth'
    checkpoint.write_bytes((folder / 'model.pth').read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(checkpoint))
    (tmp_path / 'mine.py').write_text('mine = 1')
    (tmp_path / 'link.pth').hardlink_to(checkpoint)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for given, out, message in (
            (checkpoint, 'epoch_1.pth', 'is the source'),
            (tmp_path, 'epoch_1.pth', 'is the source'),  # the directory's latest
            (checkpoint, 'link.pth', 'is the source'),
            (checkpoint, 'mine.pth', 'mine.py is there, without a checkpoint')):
        with pytest.raises(ArgumentError, match=message):
            deploy.reparameterize_checkpoint(cfg, given, tmp_path / out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
