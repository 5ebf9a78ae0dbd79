"""Annotations that do not fit their config are refused before training."""
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask

from conftest import ROOT
from damaged_data import DATA, NAMES, config, edit, refused
from mmfastvit.datasets.checks import coco_file
from mmfastvit.datasets.checks.coco_masks import decodable
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.utils.errors import ArgumentError, DataError

NUMBERS = dict.fromkeys(['model.roi_head.bbox_head.num_classes',
                         'model.roi_head.mask_head.num_classes'], 1)


@pytest.fixture(autouse=True)
def _own_scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('kind', NAMES)
def test_the_shapes_pass(shapes, kind):
    check_data(config(shapes, kind), 'train', 'val', 'test')


@pytest.mark.parametrize('name', ['maskrcnn_fastvit_sa12_coco',
                                  'retinanet_fastvit_ma36_coco',
                                  'rtmdet_fastvit_sa12_coco',
                                  'cascademaskrcnn_fastvit_sa12_coco',
                                  'dino_fastvit_sa12_coco',
                                  'mask2former_fastvit_sa12_coco'])
def test_coco_passes(real_coco, name):
    cfg = load_config(ROOT / 'configs' / f'{name}.py')
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{real_coco}/'
        if split != 'train':
            cfg[f'{split}_evaluator'].ann_file = str(real_coco / dataset.ann_file)
    check_data(cfg, 'train', 'val', 'test')


@pytest.mark.parametrize('classes, said, line', [
    (('square', 'circle', 'triangle'), "number 0 is 'square'",
     "classes=('circle', 'square', 'triangle')"),
    (('circle', 'sqaure', 'triangle'), "did you mean 'square'",
     "classes=('circle', 'square', 'triangle')"),
    (('Circle', 'square', 'triangle'), "did you mean 'circle'",
     "classes=('circle', 'square', 'triangle')"),
    (('circle', 'square', 'triangle', 'hexagon'), "names 'hexagon'",
     "classes=('circle', 'square', 'triangle')"),
    ('circle', 'every letter would be a class', "classes=('circle', )"),
    (('circle', 'square', 'square'), "names 'square' twice", 'comma'),
])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_names_of_classes(shapes, split, classes, said, line):
    cfg = config(shapes, 'coco',
                 **{f'{split}_dataloader.dataset.metainfo.classes': classes})
    message = refused(cfg)
    assert f'{split}_dataloader.dataset.metainfo.classes' in message
    assert said in message and line in message


def test_a_part_of_the_classes(shapes):
    cfg = config(shapes, 'coco', **{DATA + 'metainfo.classes': ('square', )}, **NUMBERS)
    check_data(cfg, 'train')


def test_names_that_nobody_gave(shapes):
    cfg = config(shapes, 'coco')
    del cfg.train_dataloader.dataset.metainfo
    message = refused(cfg)
    assert "CocoDataset's own" in message
    assert "classes=('circle', 'square', 'triangle')" in message


@pytest.mark.parametrize('kind, options, line', [
    ('coco', NUMBERS, 'model.roi_head.bbox_head.num_classes=3 '
                      'model.roi_head.mask_head.num_classes=3'),
    ('coco', {'model.roi_head.bbox_head.num_classes': 80},
     'model.roi_head.bbox_head.num_classes=3'),
    ('coco', {'model.roi_head.bbox_head': [dict(num_classes=3), dict(num_classes=2)]},
     'model.roi_head.bbox_head.1.num_classes=3'),
    ('seg', {'model.decode_head.num_classes': 3}, 'model.decode_head.num_classes=4'),
    ('seg', {'model.auxiliary_head': dict(type='FCNHead', num_classes=150)},
     'model.auxiliary_head.num_classes=4'),
    ('cls', {'model.head.num_classes': 2}, 'model.head.num_classes=3'),
    ('cls', {'model.head.num_classes': 1000}, 'model.head.num_classes=3'),
])
def test_heads_of_other_numbers(shapes, kind, options, line):
    assert f'--cfg-options {line}' in refused(config(shapes, kind, **options))


def first(content):
    return content['annotations'][0]


def each(key, value):
    def change(content):
        for ann in content['annotations']:
            ann[key] = value(ann) if callable(value) else value
    return change


def in_polygons(numbers):
    return lambda content: first(content).update(segmentation=[numbers])


def corners(ann):
    x, y, width, height = ann['bbox']
    return [x, y, x + width, y + height]


COCO_FAULTS = {
    'normalised': (each('bbox', lambda ann: [v / 64 for v in ann['bbox']]),
                   'fractions of the picture'),
    'outside': (each('bbox', [100, 100, 9, 9]), 'outside of their pictures'),
    'corners': (each('bbox', corners), 'x2 - x1'),
    'no pixel': (each('bbox', [3, 3, 0, 0]), 'smaller than a pixel'),
    'no area at all': (each('area', 0), 'of area 0'),
    'crowd only': (each('iscrowd', 1), 'all are crowds'),
    'ignored': (each('ignore', True), 'not ignored'),
    'no annotations': (lambda c: c['annotations'].clear(), 'is empty'),
    'other categories only': (
        lambda c: (each('category_id', 4)(c),
                   c['categories'].append(dict(id=4, name='other'))), 'none has a box'),
    'image twice': (lambda c: c['images'].append(c['images'][0]),
                    'two of its images have the id 1'),
    'annotation twice': (lambda c: c['annotations'].append(first(c)),
                         'two of its annotations have the id 1'),
    'category twice': (lambda c: c['categories'].append(dict(id=9, name='circle')),
                       "have the name 'circle'"),
    'no area': (lambda c: first(c).pop('area'), "(id 1) has no 'area'"),
    'no box': (lambda c: first(c).pop('bbox'), "(id 1) has no 'bbox'"),
    'three numbers': (lambda c: first(c).update(bbox=[1, 2, 3]), '(id 1) has the bbox'),
    'null': (lambda c: first(c).update(bbox=None), '(id 1) has the bbox'),
    'NaN box': (lambda c: first(c).update(bbox=[1, 2, 3, float('nan')]), 'nan'),
    'text': (lambda c: first(c).update(area='12'), "(id 1) has the area '12'"),
    'unknown image': (lambda c: first(c).update(image_id=77), 'image_id 77'),
    'unknown category': (lambda c: first(c).update(category_id=0), 'category_id 0'),
    'list as id': (lambda c: first(c).update(category_id=[1]), 'category_id [1]'),
    'no categories': (lambda c: c.pop('categories'), "no list 'categories'"),
    'no images': (lambda c: c.pop('images'), "no list 'images'"),
    'a list of null': (lambda c: c.update(annotations=[None]), 'annotations[0] has no'),
    'no width': (lambda c: c['images'][0].pop('width'), "no 'width'"),
    'zero width': (lambda c: c['images'][0].update(width=0), '000001.png) is 0 wide'),
    'no picture': (lambda c: c['images'][0].update(file_name='gone.png'),
                   'gone.png'),
    'odd polygon': (in_polygons([1, 1, 9, 1, 9, 9, 1]), 'polygon of 7 numbers'),
    'short polygon': (in_polygons([1, 1, 9, 1]), 'polygon of 4 numbers'),
    'NaN polygon': (in_polygons([1, 1, 9, 1, 9, float('nan')]), 'NaN'),
    'infinite polygon': (in_polygons([1, 1, 9, 1, 9, float('inf')]), 'infinite'),
    'words in a polygon': (in_polygons([1, 1, 9, 1, 9, 'x']), 'else than numbers'),
    'no mask': (lambda c: first(c).pop('segmentation'), 'has no mask'),
    'size of the mask': (lambda c: first(c)['segmentation'].update(size=[32, 64]),
                         'mask of size [32, 64]'),
    'short run lengths': (lambda c: first(c)['segmentation'].update(counts='0'),
                          'damaged'),
    'long run lengths': (lambda c: first(c)['segmentation'].update(counts=[1, 9999]),
                         'not as many pixels'),
}


@pytest.mark.parametrize('fault', COCO_FAULTS)
def test_annotations(root, fault):
    change, said = COCO_FAULTS[fault]
    path = edit(root, change)
    message = refused(config(root, 'coco'), 'train')
    assert path in message and said in message


def test_masks_are_looked_at_where_they_are_used(root):
    edit(root, in_polygons([1, 1, 9, 1, 9, float('nan')]))
    cfg = config(root, 'coco')
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    check_data(cfg, 'train')


@pytest.mark.parametrize('content', [
    b'', b'{"images": [', b'[]', b'\xff\xfe', b'\xef\xbb\xbf{}', b'[' * 100_000])
def test_files_that_are_no_annotations(root, content):
    path = root / 'annotations' / 'instances_train.json'
    path.write_bytes(content)
    assert str(path) in refused(config(root, 'coco'))


def test_annotations_of_the_evaluator(root):
    edit(root, lambda c: first(c).pop('iscrowd'), 'val')
    message = refused(config(root, 'coco'))
    assert "annotation id 1 (image id 1, 000001.png) has no 'iscrowd'" in message


def test_an_evaluator_with_another_file(root):
    cfg = config(root, 'coco', **{
        'val_evaluator.ann_file': f'{root}/annotations/instances_train.json'})
    path = f'{root}/annotations/instances_val.json'
    assert f'--cfg-options val_evaluator.ann_file={path}' in refused(cfg)
    copy = shutil.copy(path, root / 'copy.json')
    check_data(config(root, 'coco', **{'val_evaluator.ann_file': str(copy)}), 'val')


def test_inside_of_wrappers(shapes):
    cfg = config(shapes, 'coco', **{DATA + 'metainfo.classes': ('square', 'circle')})
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dict(
        type='ConcatDataset', datasets=[inner]))
    assert DATA + 'dataset.datasets.0.metainfo.classes' in refused(cfg)


def test_what_is_not_known_is_left_alone(shapes):
    cfg = config(shapes, 'coco', **{DATA + 'metainfo.classes': ('square', 'circle')})
    check_data(Config(dict(cfg, check_data=False)), 'train')
    cfg.train_dataloader.dataset.type = 'SomebodysOwnDataset'
    check_data(cfg, 'train')
    cfg.train_dataloader.dataset.update(type='CocoDataset', backend_args=dict(
        backend='petrel'))
    check_data(cfg, 'train')


def test_large_files_are_read_once(root, monkeypatch, tmp_path):
    monkeypatch.setattr(coco_file, 'LARGE', 0)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    path = root / 'annotations' / 'instances_train.json'
    facts = coco_file.read_facts(path)
    coco_file._read_facts.cache_clear()
    monkeypatch.setattr(coco_file, '_parse', None)  # would raise
    assert coco_file.read_facts(path) == facts
    monkeypatch.undo()
    kept, = (tmp_path / 'cache' / 'mmfastvit').iterdir()
    kept.write_text('{')
    coco_file._read_facts.cache_clear()
    monkeypatch.setattr(coco_file, 'LARGE', 0)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert coco_file.read_facts(path) == facts


def test_run_lengths_are_decoded():
    random = np.random.RandomState(0)
    masks = [random.rand(37, 53) < share for share in (0, 0.01, 0.3, 0.5, 0.99, 1)]
    masks += [np.kron(random.rand(5, 7) < 0.5, np.ones((30, 40))) > 0]
    encoded = [coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts']
               for mask in masks]
    pixels = np.array([mask.size for mask in masks])
    assert decodable(encoded, pixels).all()
    assert not decodable(encoded, pixels + 1).any()
    cut = [counts[:-1] for counts in encoded]
    assert not decodable(cut, pixels).any()
    mixed = decodable([encoded[2], b'', b'~~~', encoded[3], b'o' * 9, encoded[4]],
                      pixels[[2, 2, 2, 3, 2, 4]])
    assert mixed.tolist() == [True, False, False, True, False, True]


def test_settings_and_data_are_told_apart(shapes, root):
    """Exporting goes on without data, but not with a wrong setting."""
    with pytest.raises(ArgumentError):
        check_data(config(shapes, 'coco', **{DATA + 'metainfo.classes': 'circle'}),
                   'train')
    edit(root, COCO_FAULTS['crowd only'][0])
    with pytest.raises(DataError):
        check_data(config(root, 'coco'), 'train')
