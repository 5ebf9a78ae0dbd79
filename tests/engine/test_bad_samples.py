"""A sample that cannot be used is named, in training and testing."""
import shutil

import pytest
from mmengine.registry import DefaultScope

from conftest import ROOT
from mmfastvit.engine import runner as engine
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import build_runner, train
from mmfastvit.utils.errors import DataError


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def crops(shapes, tmp_path):
    """Pictures of the shapes, to be damaged."""
    return shutil.copytree(shapes / 'crops', tmp_path / 'crops')


def classifier(crops, workers=0):
    options = {  # a small one: what is tested is the plumbing
        'model.backbone': dict(_delete_=True, type='ResNet', depth=18,
                               base_channels=8, stem_channels=8),
        'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
        'model.head.in_channels': 64, 'train_dataloader.batch_size': 4}
    for split in ('train', 'val', 'test'):
        options |= {f'{split}_dataloader.dataset.data_root': str(crops),
                    f'{split}_dataloader.num_workers': workers,
                    f'{split}_dataloader.persistent_workers': False}
    return load_config(ROOT / 'configs' / 'fastvit_sa12_shapes.py', options,
                       work_dir=crops.parent / 'work')


@pytest.mark.parametrize('workers', [0, 1])
def test_a_damaged_picture(crops, workers):
    pictures = sorted((crops / 'train').glob('*/*.png'))
    for path in pictures[1:]:
        path.write_bytes(b'no picture')
    with pytest.raises(DataError) as caught:
        train(classifier(crops, workers))
    message = str(caught.value)
    assert any(message.startswith(str(path)) for path in pictures[1:])
    assert 'cannot be used: LoadImageFromFile says' in message
    assert 'Traceback' not in message


def test_a_label_that_the_loss_refuses(crops):
    pictures = sorted((crops / 'train').glob('*/*.png'))
    (crops / 'list.txt').write_text(''.join(
        f'{path.relative_to(crops)} {7 if path == pictures[0] else 0}\n'
        for path in pictures[:4]))
    cfg = classifier(crops)
    cfg.train_dataloader.dataset.update(ann_file='list.txt', data_prefix='')
    cfg.train_dataloader.batch_size = 2
    cfg.model.head.loss = dict(type='CrossEntropyLoss')
    cfg.check_data = False  # which would find it before
    with pytest.raises(DataError) as caught:
        train(cfg)
    assert 'Target 7 is out of bounds' in str(caught.value)
    assert str(pictures[0]) in str(caught.value)


def test_a_damaged_picture_to_test_on(crops):
    path = next((crops / 'val').glob('*/*.png'))
    path.write_bytes(b'no picture')
    cfg = classifier(crops)
    model = build_runner(cfg).model
    with pytest.raises(DataError, match=f'{path} cannot be used'):
        engine.test(cfg, model)


def test_an_error_that_is_not_the_datas_stays_as_it_is(crops, capfd):
    def fail(*args, **kwargs):
        raise ZeroDivisionError('mine')

    cfg = classifier(crops)
    model = build_runner(cfg).model
    model.test_step = fail
    with pytest.raises(ZeroDivisionError, match='mine'):
        engine.test(cfg, model)
    assert f'The model was given {crops}' in ''.join(capfd.readouterr())
