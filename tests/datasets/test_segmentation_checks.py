"""Label maps that do not fit their config are refused before training."""
import json

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from conftest import ROOT, shared
from damaged_data import DATA, config, refused
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


def test_coco_as_label_maps_passes():
    root = shared('data', 'coco_semantic')
    names = [c['name'] for c in json.loads((root / 'classes.json').read_text())]
    cfg = load_config(ROOT / 'configs' / 'fpn_fastvit_sa12_ade20k.py',
                      {'model.decode_head.num_classes': len(names)})
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.update(
            type='BaseSegDataset', data_root=str(root), reduce_zero_label=False,
            data_prefix=dict(img_path=f'img_dir/{split}',
                             seg_map_path=f'ann_dir/{split}'),
            metainfo=dict(classes=names))
    check_data(cfg, 'train', 'val')
    cfg.model.decode_head.num_classes = 4
    assert '--cfg-options model.decode_head.num_classes=133' in refused(cfg)


def paint(root, change, split='train'):
    """Change all label maps."""
    for path in (root / 'semantic' / split).iterdir():
        labels = np.array(Image.open(path))
        Image.fromarray(change(labels)).save(path)


TWO = {DATA + 'metainfo': dict(_delete_=True, classes=('ground', 'shape')),
       'model.decode_head.num_classes': 2}
SEGMENTATION_FAULTS = {
    '0 and 255': (lambda m: np.where(m > 0, 255, 0).astype(np.uint8), TWO,
                  'Write 1 instead of 255'),
    'all 255': (lambda m: np.full_like(m, 255), {}, 'every pixel is [255]'),
    'label 7': (lambda m: np.where(m == 3, 7, m).astype(np.uint8), {},
                'has pixels of value 7'),
    'from 1 on': (lambda m: m + 1, {}, 'write reduce_zero_label=True'),
    'zero is a class': (lambda m: m, {DATA + 'reduce_zero_label': True},
                        'Write reduce_zero_label=False'),
    'all zero': (lambda m: 0 * m, {DATA + 'reduce_zero_label': True},
                 'write reduce_zero_label=False'),
    'colours': (lambda m: np.stack([m] * 3, 2), {}, '3 channels'),
    'another size': (lambda m: m[:32], {}, '64 x 64 pixels, and its map'),
    'two bytes': (lambda m: m.astype(np.uint16) * 256, {}, 'value 768'),
}


@pytest.mark.parametrize('fault', SEGMENTATION_FAULTS)
def test_label_maps(root, fault):
    change, options, said = SEGMENTATION_FAULTS[fault]
    paint(root, change)
    message = refused(config(root, 'seg', **options), 'train')
    assert said in message and 'train' in message


def test_files_of_label_maps(root):
    folder = root / 'semantic' / 'train'
    path = folder / '000003.png'
    path.write_bytes(path.read_bytes()[:60])
    assert str(path) in refused(config(root, 'seg'))
    path.unlink()
    assert f'1 of 6 pictures have no map, the first is {path}' in refused(
        config(root, 'seg'))
    for path in folder.iterdir():
        path.rename(folder / f'{path.stem}_labels.png')
    assert "seg_map_suffix='_labels.png'" in refused(config(root, 'seg'))
    assert "img_suffix='.png'" in refused(
        config(root, 'seg', **{DATA + 'img_suffix': '.jpg'}))


def test_settings_that_a_data_set_refuses(shapes):
    cfg = config(shapes, 'seg', **{DATA + 'metainfo.classes': ('ground', 'shape')})
    assert f'{DATA[:-1]}: BaseSegDataset refuses its settings' in refused(cfg)


def test_a_picture_that_a_camera_turned(root):
    path = root / 'train' / '000001.png'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (64, 32)).save(path, exif=exif)
    Image.new('L', (32, 64)).save(root / 'semantic' / 'train' / path.name)
    check_data(config(root, 'seg'), 'train')
