"""Data sets and configs that disagree: trained on only if the result can be right."""
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from helpers import shapes_case
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import train

from .case import Case, Kind, anything, nothing
from .damage import cut, flip

CLASSES = ('circle', 'square', 'triangle')


def prepare(good: Path) -> None:
    generate_shapes(good / 'shapes', ShapesSpec(num_train=4, num_val=2, image_size=64))
    for task in ('retinanet', 'fpn', 'classifier'):
        (good / task).mkdir()
        cfg, _ = shapes_case(task, good / 'shapes', good / task)
        cfg.dump(good / f'{task}.py')
        train(world(task, good / f'{task} trained', good)[1])  # it is good


def world(task: str, folder: Path, good: Path) -> tuple[Path, Config]:
    """Return a copy of the data set, and a config that trains a step on it."""
    root = folder / 'shapes'
    shutil.copytree(good / 'shapes', root)
    cfg = load_config(good / f'{task}.py', work_dir=folder / 'work')
    cfg.model.backbone.init_cfg = None
    cfg.train_dataloader.batch_size = 2
    cfg.default_hooks.pop('checkpoint', None)
    cfg.train_cfg.update(val_interval=1, **(
        dict(max_iters=2) if 'max_iters' in cfg.train_cfg else dict(max_epochs=1)))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(root) + (
            '/crops' if task == 'classifier' else '/')
        if task == 'retinanet' and split != 'train':
            cfg[f'{split}_evaluator'].ann_file = str(
                root / 'annotations' / 'instances_val.json')
    return root, cfg


def training(cfg: Config, accepts: Callable[[Any], bool], *names: str,
             about: str = '') -> Case:
    return Case(lambda: train(cfg), accepts, names, about=about)


def both(cfg: Config) -> list[Any]:
    return [cfg.train_dataloader.dataset, cfg.val_dataloader.dataset]


def _box(annotation: dict, change: Callable[[float], float]) -> None:
    annotation['bbox'] = [change(x) for x in annotation['bbox']]


def coco(random: Random, folder: Path, good: Path) -> Case:
    """Change COCO annotations, in the training file or in that of validation."""
    root, cfg = world('retinanet', folder, good)
    split = random.choice(('train', 'train', 'val'))
    path = root / 'annotations' / f'instances_{split}.json'
    good_text = path.read_text()
    content = json.loads(good_text)
    images, annotations, categories = (content[key] for key in (
        'images', 'annotations', 'categories'))
    one = random.choice(annotations)
    accepts, text = random.choice(_COCO)(
        random, content, images, annotations, categories, one)
    text = json.dumps(content) if text is None else text
    path.write_text(text)
    start = len(os.path.commonprefix([text, good_text]))
    # What is there, but no picture, is refused by its own name.
    return training(cfg, right_names(path) if accepts is named else accepts, path.name,
                    'etc/passwd',
                    about=f'{path.name} at {start}: {text[max(0, start - 40):][:80]}')


def named(runner: Any) -> bool:
    """Stand for ``right_names`` of the file that is changed."""


def right_names(path: Path) -> Callable[[Any], bool]:
    """Return whether a run trains each category of a file under its own name."""
    categories = json.loads(path.read_text())['categories']

    def right(runner: Any) -> bool:
        dataset = runner.train_dataloader.dataset
        names, labels = dataset.metainfo['classes'], dataset.cat2label
        return all(category['id'] in labels and names[labels[category['id']]]
                   == category['name'] for category in categories)
    return right


def _coco_text(random, content, *_):
    data = json.dumps(content).encode()
    text = random.choice((
        cut(random, data).decode(), '', 'null', '[]', '{"a": ' * 5000,
        flip(random, data[:40]).decode('latin1') + data[40:].decode()))
    try:
        return (anything if json.loads(text) == content else nothing), text
    except (ValueError, RecursionError):
        return nothing, text


def _every(change: Callable[[dict], Any], accepts=nothing) -> Callable:
    def damage(random, content, images, annotations, categories, one):
        for annotation in annotations:
            change(annotation)
        return accepts, None
    return damage


def _one(change: Callable[..., Any], accepts=nothing) -> Callable:
    def damage(random, content, images, annotations, categories, one):
        change(random, images, annotations, categories, one)
        return accepts, None
    return damage


def _polygon(random: Random, one: dict, number: Any) -> None:
    points = [4., 5., 40., 5., 40., 50.]
    points[random.randrange(6)] = number
    one['segmentation'] = [points]


_COCO = (
    _coco_text, _coco_text,
    _every(lambda a: _box(a, lambda x: x / 64)),
    _every(lambda a: _box(a, lambda x: x + 5000)),
    _every(lambda a: _box(a, lambda x: -x)),
    _every(lambda a: _box(a, lambda x: 0)),
    _every(lambda a: a.update(iscrowd=1)),
    _every(lambda a: a.update(category_id=99)),
    _every(lambda a: a.update(category_id=a['category_id'] - 1)),
    _every(lambda a: a.update(image_id=a['image_id'] + 1000)),
    _every(lambda a: a.pop('area'), anything),
    _every(lambda a: a.pop('iscrowd'), anything),
    _every(lambda a: a.update(note='x'), anything),
    _one(lambda r, i, a, c, one: _box(one, lambda x: r.choice(
        (math.nan, math.inf, None, 'x')))),
    _one(lambda r, i, a, c, one: one.update(bbox=r.choice(
        ([], [1, 2], None, 'x', [1, 2, 3, 4, 5])))),
    _one(lambda r, i, a, c, one: one.pop(r.choice(
        ('bbox', 'image_id', 'category_id')))),
    _one(lambda r, i, a, c, one: one.update(category_id=r.choice(
        (99, '1', None, -1, 1.5)))),
    _one(lambda r, i, a, c, one: _polygon(r, one, r.choice((math.nan, math.inf, 'x'))),
         anything),
    _one(lambda r, i, a, c, one: a.clear()),
    _one(lambda r, i, a, c, one: i.clear()),
    _one(lambda r, i, a, c, one: c.clear()),
    _one(lambda r, i, a, c, one: i.append(dict(i[0]))),
    _one(lambda r, i, a, c, one: a.append(dict(one)), anything),
    _one(lambda r, i, a, c, one: i[0].update(id=i[1]['id'])),
    _one(lambda r, i, a, c, one: i[0].update(file_name=r.choice(
        ('nowhere.png', '', None, 3, '../' * 30 + 'etc/passwd')))),
    _one(lambda r, i, a, c, one: i[0].pop(r.choice(('id', 'file_name')))),
    _one(lambda r, i, a, c, one: i[0].pop(r.choice(('height', 'width')))),
    _one(lambda r, i, a, c, one: i[0].update(height=r.choice((1, 0, -4, None, '64')))),
    _one(lambda r, i, a, c, one: c.reverse(), named),
    _one(lambda r, i, a, c, one: c[0].update(name=r.choice(
        ('Circle', 'circel', ' circle', 'square', '', None)))),
    _one(lambda r, i, a, c, one: c[0].update(id=r.choice((2, '1', None)))),
    _one(lambda r, i, a, c, one: r.shuffle(a), anything),
)


def classes(random: Random, folder: Path, good: Path) -> Case:
    """Name other classes in the config than there are in the data."""
    task = random.choice(('retinanet', 'retinanet', 'fpn', 'classifier'))
    root, cfg = world(task, folder, good)
    names = random.choice((
        CLASSES[::-1], CLASSES[:2], (*CLASSES, 'more'), ('circle'),
        ('Circle', 'square', 'triangle'), ('circle', 'square', 'triangel'),
        ('circle', 'circle', 'square'), (), ('a', 'b', 'c'), [1, 2, 3], 'nowhere.txt'))
    if task == 'fpn':
        names = ('ground', *names) if isinstance(names, tuple) else names
    for dataset in both(cfg):
        dataset.metainfo = dict(classes=names)
    if random.random() < 0.3:  # the names are right, the number is not
        for dataset in both(cfg):
            dataset.metainfo = dict(classes=('ground', *CLASSES) if task == 'fpn'
                                    else CLASSES)
        head = cfg.model[dict(retinanet='bbox_head', fpn='decode_head',
                              classifier='head')[task]]
        head.num_classes = random.choice((1, 2, 80, 0, -1))
    right = right_names(root / 'annotations' / 'instances_train.json')
    return training(cfg, right if task == 'retinanet' else nothing,
                    about=f'{task}: {names}, or the number of classes')


def label_maps(random: Random, folder: Path, good: Path) -> Case:
    """Write label maps with other numbers, sizes or sorts."""
    root, cfg = world('fpn', folder, good)
    part = root / 'semantic' / random.choice(('train', 'val'))
    change = random.choice((*_UNLABELLED, *_WRONG_MAPS))
    everywhere = random.random() < 0.5
    for path in sorted(part.iterdir())[:None if everywhere else 1]:
        labels = np.asarray(Image.open(path)).astype(int)
        Image.fromarray(change(labels).astype(np.uint8)).save(path)
    # One picture without labels, which is what 255 means, does no harm.
    harmless = change in _UNLABELLED and not everywhere
    return training(cfg, anything if harmless else nothing,
                    about=f'{path}: {np.unique(change(labels).astype(np.uint8))}')


_UNLABELLED = (lambda labels: (labels > 0) * 255, lambda labels: labels * 0 + 255)
_WRONG_MAPS = (
    lambda labels: labels + 200, lambda labels: labels * 80, lambda labels: labels + 3,
    lambda labels: labels[:20], lambda labels: labels[:, :1],
    lambda labels: np.stack([labels * 50] * 3, -1))


def files(random: Random, folder: Path, good: Path) -> Case:
    """Lose, cut, exchange or rename pictures, maps and folders."""
    task = random.choice(('retinanet', 'fpn', 'classifier'))
    root, cfg = world(task, folder, good)
    part = dict(retinanet='', fpn=random.choice(('', 'semantic')),
                classifier='crops')[task]
    path = root / part / random.choice(('train', 'val'))
    found = sorted(file for file in path.rglob('*.png'))
    way = random.choice(('lose', 'cut', 'empty', 'none', 'text'))
    if way == 'none':
        shutil.rmtree(path)
        if random.random() < 0.5:
            path.mkdir()
        return training(cfg, nothing)
    file = random.choice(found)
    if way == 'lose':
        file.unlink()
        # A folder of classes is what it is; others are named in a file, or in pairs.
        return training(cfg, anything if task == 'classifier' or not part else nothing)
    os.truncate(file, 0)
    if way != 'empty':
        file.write_bytes(b'no picture' if way == 'text' else file.read_bytes()[:30])
    return training(cfg, anything)  # it may not have been read in the only step


KIND = Kind(prepare, (coco, coco, coco, classes, label_maps, files), count=36,
            seconds=60, megabytes=3000)
