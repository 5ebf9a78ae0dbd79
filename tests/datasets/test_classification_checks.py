"""Folders and lists that do not fit their config are refused before training."""
import shutil

import pytest
from mmengine.registry import DefaultScope

from damaged_data import DATA, config, refused
from mmfastvit.engine.data import check_data
from mmfastvit.utils.errors import DataError


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


def image_net(root, **options):
    return config(root, 'cls', **{DATA + 'type': 'ImageNet', DATA + 'split': 'train',
                                  DATA + 'data_prefix': '', **options})


def test_a_folder_of_image_net_that_is_missing(root):
    check_data(image_net(root), 'train')
    shutil.rmtree(root / 'crops' / 'train')
    with pytest.raises(DataError, match='MISSING'):
        check_data(image_net(root), 'train')


def test_folders_of_classes(root):
    crops = root / 'crops'
    swapped = {DATA + 'metainfo.classes': ('square', 'circle', 'triangle')}
    message = refused(config(root, 'cls', **swapped))
    assert "classes=('circle', 'square', 'triangle')" in message
    (crops / 'train' / '.ipynb_checkpoints').mkdir()
    message = refused(config(root, 'cls'))
    assert '.ipynb_checkpoints would be a class, too: remove it.' in message
    assert 'Write' not in message
    (crops / 'train' / '.ipynb_checkpoints').rmdir()
    for path in (crops / 'train' / 'square').iterdir():
        path.unlink()
    cfg = config(root, 'cls')
    check_data(cfg, 'train')  # its name is in the config
    del cfg.train_dataloader.dataset.metainfo
    assert 'without pictures, 1 of 3: square' in refused(cfg)


def test_folders_that_differ_between_splits(root):
    (root / 'crops' / 'val' / 'square').rename(root / 'crops' / 'val' / 'star')
    cfg = config(root, 'cls')
    for split in ('train', 'val'):
        del cfg[f'{split}_dataloader'].dataset.metainfo
    assert 'square, star not in both' in refused(cfg)
    assert 'square, star not in both' in refused(cfg, 'val')


@pytest.mark.parametrize('line, said', [
    ('{} 7', 'has the label 7'), ('{} -1', 'has the label -1'), ('{}', 'is not the'),
    ('{} circle', 'is not the'), ('', 'is not the'), ('gone.png 0', 'gone.png')])
def test_lists_of_labels(root, line, said):
    name = next((root / 'crops' / 'train').glob('*/*.png')).relative_to(root / 'crops')
    path = root / 'crops' / 'list.txt'
    cfg = config(root, 'cls', **{DATA + 'ann_file': 'list.txt',
                                 DATA + 'data_prefix': ''})
    path.write_text(f'{name} 0\n{name} 2\n')
    check_data(cfg, 'train')
    path.write_text(f'{name} 0\n{line.format(name)}\n{name} 1\n')
    message = refused(cfg)
    assert str(path) in message and said in message
    assert 'line 2' in message or 'gone.png' in line
