import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmfastvit import ArgumentError, DataError
from mmfastvit.datasets.shapes import (
    CLASSES,
    ShapesSpec,
    draw_scene,
    generate_shapes,
)

SPEC = ShapesSpec(num_train=6, num_val=3, image_size=64, seed=3)
# Renew with the hash that the failing test prints, raise VERSION, and say in
# CHANGELOG.md that the generated set has changed.
GOLDEN = (
    'fc5857e7006bdc993a7f5ebde8d6383586db4a3a7510f1291c3782efded70481')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp('data') / 'shapes', SPEC)


def test_same_pictures_on_every_machine():
    digest = hashlib.sha256()
    random = np.random.RandomState([0, 0])
    for _ in range(10):
        picture, shapes = draw_scene(random, 256)
        digest.update(picture.tobytes())
        for label, mask, _ in shapes:
            digest.update(bytes([label]) + np.packbits(mask).tobytes())
    assert digest.hexdigest() == GOLDEN


def test_layout_and_annotations(root):
    for split, count in (('train', 6), ('val', 3)):
        coco = COCO(root / 'annotations' / f'instances_{split}.json')
        assert len(coco.imgs) == count
        assert [c['name'] for c in coco.cats.values()] == list(CLASSES)
        for image in coco.imgs.values():
            picture = Image.open(root / split / image['file_name'])
            assert picture.size == (64, 64) and picture.mode == 'RGB'
            labels = np.array(Image.open(
                root / 'semantic' / split / image['file_name']))
            covered = np.zeros_like(labels)
            for annotation in coco.imgToAnns[image['id']]:
                mask = coco.annToMask(annotation).astype(bool)
                assert not covered[mask].any()  # what is visible is disjoint
                covered[mask] = annotation['category_id']
                assert mask.sum() == annotation['area'] > 0
                x, y, w, h = annotation['bbox']
                ys, xs = np.nonzero(mask)
                assert (x, y, x + w, y + h) == (
                    xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert (labels == covered).all()


def test_splits_and_seeds_differ(root, tmp_path):
    other = generate_shapes(tmp_path / 'other', ShapesSpec(
        num_train=6, num_val=3, image_size=64, seed=4))
    files = [root / 'train', root / 'val', other / 'train']
    pictures = [(f / '000001.png').read_bytes() for f in files]
    assert len(set(pictures)) == 3


def test_again_does_nothing_and_another_spec_is_refused(root):
    before = (root / 'train' / '000001.png').stat().st_mtime_ns
    assert generate_shapes(root, SPEC) == root
    assert (root / 'train' / '000001.png').stat().st_mtime_ns == before
    with pytest.raises(DataError, match='choose another folder'):
        generate_shapes(root, ShapesSpec())


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('disk full')
    monkeypatch.setattr(json, 'dumps', fail)
    with pytest.raises(OSError, match='disk full'):
        generate_shapes(tmp_path / 'shapes', SPEC)
    assert not list(tmp_path.iterdir())


def test_bad_spec():
    with pytest.raises(ArgumentError, match='at least one picture'):
        ShapesSpec(num_val=0)
