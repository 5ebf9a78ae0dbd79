"""MMDetection's CocoDataset: annotation file, classes, heads and pictures."""
import os

from mmengine.config import Config

from mmfastvit.utils.errors import ArgumentError, DataError

from . import classes as names
from .coco_file import CocoFacts, read_facts
from .presence import check_pictures
from .sets import DataSet, type_name

_UNUSABLE = {
    'normalised': 'all boxes lie within 2 x 2 pixels, as if x, y, width and height '
                  'were fractions of the picture. COCO\'s are in pixels: multiply x '
                  'and width by the picture\'s width, y and height by its height',
    'outside': 'all boxes lie outside of their pictures. A box is [x, y, width, '
               'height] in pixels, from the top left corner',
    'small': 'all boxes are smaller than a pixel, or of area 0. A box is [x, y, '
             'width, height] in pixels, its area is in pixels, too',
    'corners': 'most boxes reach out of their pictures, and all would fit as [x1, y1, '
               'x2, y2]. COCO\'s are [x, y, width, height]: write x2 - x1 and y2 - y1',
}


def check(data: DataSet, cfg: Config, alone: bool) -> None:
    """Raise a :class:`UserError` if annotations and config disagree.

    Args:
        data: A data set that reads as CocoDataset does.
        cfg: Of the whole run.
        alone: Whether it is all of the data of its split.
    """
    path = data.built.ann_file
    facts = read_facts(path)
    classes = data.built.metainfo.get('classes') or ()
    own = 'metainfo' in data.node and 'classes' in data.node['metainfo']
    _check_classes(data.key, path, facts, tuple(classes),
                   'the config\'s' if own else f'{type_name(data.node)}\'s own')
    names.check_heads(
        names.heads(cfg), len(classes),
        f'{data.key}.metainfo.classes has {len(classes)}, as {path} does')
    metrics = _metrics(cfg, data.split)
    _check_masks(data, path, facts, metrics)
    if not all(metric.get('format_only') for metric in metrics) or not metrics:
        _check_boxes(data, path, facts, set(classes))
    for metric in metrics:
        _check_scoring(data, metric, facts, alone)
    _check_pictures(data, path, facts)


def _check_classes(key: str, path: str, facts: CocoFacts, classes: tuple[str, ...],
                   whose: str) -> None:
    """Hold the config's names against the file's.

    MMDetection takes the categories whose names are in ``classes``, in the
    file's order, and counts labels from 0.
    """
    setting = f'{key}.metainfo.classes'
    missing = [name for name in classes if name not in facts.categories]
    if missing:
        others = [name for name in facts.categories if name not in classes]
        meant = {name: names.nearest(name, others) for name in missing}
        found = meant[missing[0]]
        wanted = {meant.get(name, name) for name in classes}
        kept = [name for name in facts.categories if name in wanted]
        many = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise ArgumentError(
            f'{setting} ({whose}) names {missing[0]!r}{many}, which '
            f'{path} does not have'
            + (f'; did you mean {found!r}? ' if found else '. ')
            + 'Without it all later classes would get other labels. Write '
            + _line(kept if kept and len(missing) < len(classes) / 2
                    else facts.categories))
    kept = [name for name in facts.categories if name in classes]
    if kept != list(classes):
        i = next(i for i, name in enumerate(classes) if name != kept[i])
        raise ArgumentError(
            f'{setting} is in another order than the categories of {path}: its number '
            f'{i} is {classes[i]!r}, the file\'s is {kept[i]!r}. MMDetection counts in '
            f'the file\'s order, so names would be wrong. Write {_line(kept)}')


def _line(classes: list[str]) -> str:
    if len(classes) <= 100:
        return names.line(classes)
    return ('metainfo=dict(classes=(...)) with the names of the file\'s categories, in '
            f'its order: {", ".join(classes[:5])}, ...')


def _check_masks(data: DataSet, path: str, facts: CocoFacts,
                 metrics: list[dict]) -> None:
    used = (any(step.get('with_mask') for step in data.steps('LoadAnnotations'))
            or any('segm' in _as_list(metric.get('metric', 'bbox'))
                   for metric in metrics))
    if used and facts.mask_fault:
        raise DataError(f'{path}: {facts.mask_fault}. Mend the annotation or take it '
                        'out, or train a detector without masks.')


def _check_boxes(data: DataSet, path: str, facts: CocoFacts,
                 classes: set[str]) -> None:
    if facts.unusable in _UNUSABLE:
        raise DataError(f'{path}: {_UNUSABLE[facts.unusable]}. {names.OPT_OUT}')
    usable, singles = (
        sum(count for name, count in zip(facts.categories, counts) if name in classes)
        for counts in (facts.usable, facts.singles))
    what = f'{path}, of {data.key}, has no annotation to learn or to be judged by'
    if not any(facts.shown):
        raise DataError(f'{what}: its list annotations is empty. {names.OPT_OUT}')
    if not usable:
        raise DataError(
            f'{what}: of its classes {", ".join(sorted(classes)[:5])} none has a box '
            'of a pixel or more, with an area, inside of its picture and not ignored. '
            f'{names.OPT_OUT}')
    if not singles:
        raise DataError(f'{what}: all are crowds (iscrowd=1), which are left out. '
                        f'Single objects have iscrowd=0. {names.OPT_OUT}')


def _check_scoring(data: DataSet, metric: dict, facts: CocoFacts,
                   alone: bool) -> None:
    """Hold the evaluator's annotations against the data set's."""
    path = metric.get('ann_file')
    if not isinstance(path, str) or metric.get('backend_args') or '://' in path:
        return
    scored = facts if _same(path, data.built.ann_file) else read_facts(path)
    if alone and scored is not facts:
        known = dict(zip(scored.image_ids, scored.file_names))
        other = [name for i, name in zip(facts.image_ids, facts.file_names)
                 if known.get(i) != name]
        kept = [name for name in facts.categories
                if name in (data.built.metainfo.get('classes') or ())]
        if (other or len(known) != len(facts.image_ids)
                or [name for name in scored.categories if name in kept] != kept):
            raise ArgumentError(
                f'{data.split}_evaluator.ann_file={path} and {data.key}.ann_file='
                f'{data.built.ann_file} hold other images or categories'
                + (f', for example {other[0]}' if other else '')
                + f'. Write --cfg-options {data.split}_evaluator.ann_file='
                f'{data.built.ann_file}')
    if scored.scoring_fault and not metric.get('format_only'):
        raise DataError(f'{path}: {scored.scoring_fault}. The evaluator needs it.')


def _check_pictures(data: DataSet, path: str, facts: CocoFacts) -> None:
    if data.node.get('indices') is not None:
        return  # a part, for which the rest need not be there
    folder = data.built.data_prefix.get('img')
    if not isinstance(folder, str):
        return
    skipped = (data.split == 'train' and not data.node.get('test_mode')
               and (data.node.get('filter_cfg') or {}).get('filter_empty_gt'))
    classes = data.built.metainfo.get('classes') or ()
    labels = {i for i, name in enumerate(facts.categories) if name in classes}
    check_pictures(data.key, path, (
        os.path.join(folder, name) for name, shown in zip(facts.file_names, facts.shown)
        if not skipped or not labels.isdisjoint(shown)))


def _metrics(cfg: Config, split: str) -> list[dict]:
    if split == 'train':
        return []
    return [metric for metric in _as_list(cfg.get(f'{split}_evaluator'))
            if isinstance(metric, dict) and type_name(metric) == 'CocoMetric']


def _as_list(value: object) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
