"""MMPretrain's ImageNet and CustomDataset: folders or lists, classes and heads."""
import os
from typing import Any

from mmengine.config import Config

from mmfastvit.utils.errors import ArgumentError, DataError

from . import classes as names
from .presence import check_paths, check_pictures
from .sets import DataSet


def check(data: DataSet, cfg: Config, alone: bool) -> None:
    """Raise a :class:`UserError` if folders or lists and config disagree.

    Args:
        data: A data set that reads as CustomDataset does.
        cfg: Of the whole run.
        alone: Whether it is all of the data of its split.
    """
    built = data.built
    wanted = [path for path in (built.ann_file, built.img_prefix) if path]
    check_paths(data.split, data.key, data.node.get('data_root') or '', wanted)
    heads = names.heads(cfg)
    if not built.with_label:
        return
    if built.ann_file:
        _check_list(data, heads)
        return
    folders = class_folders(data)
    if not folders:
        raise DataError(f'{built.img_prefix}, of {data.key}, holds no folder. It has '
                        'a folder of pictures for each class.')
    _check_folders(data, folders)
    names.check_heads(heads, len(folders),
                      f'{built.img_prefix} has {len(folders)} folders of classes')


def class_folders(data: DataSet) -> list[str]:
    """Return the folders that name classes, in the order of their labels."""
    if data.built.ann_file or not data.built.with_label:
        return []
    try:
        with os.scandir(data.built.img_prefix) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def compare(one: DataSet, other: DataSet) -> None:
    """Raise :class:`DataError` if two sets number their folders differently."""
    ours, theirs = class_folders(one), class_folders(other)
    if not ours or not theirs or ours == theirs:
        return
    differ = sorted(set(ours) ^ set(theirs))
    raise DataError(
        f'{one.built.img_prefix} and {other.built.img_prefix} have other folders of '
        f'classes: {_some(differ)} not in both. Folders are numbered by their names, '
        'so labels would differ. Make the same folders in both, empty ones, too.')


def _check_folders(data: DataSet, folders: list[str]) -> None:
    built, classes = data.built, data.built.CLASSES
    where = f'{built.img_prefix}, of {data.key},'
    hidden = [name for name in folders if name.startswith(('.', '__'))]
    advice = (f'{hidden[0]} would be a class, too: remove it. ' if hidden else '')
    if classes is not None and len(classes) != len(folders):
        own = 'classes' in (data.node.get('metainfo') or {}) or 'classes' in data.node
        raise ArgumentError(
            f'{where} has {len(folders)} folders of classes, '
            f'{_some(folders)}, and '
            + ('metainfo.classes names ' if own else 'the data set itself knows ')
            + f'{len(classes)}. {advice or "Write " + _line(folders)}')
    by_name = sorted(str(name).casefold() for name in classes or ())
    if (by_name == sorted(name.casefold() for name in folders)
            and [str(name).casefold() for name in classes]
            != [name.casefold() for name in folders]):
        raise ArgumentError(
            f'{data.key}.metainfo.classes is in another order than the folders of '
            f'{built.img_prefix}. Labels follow the folders\' names as sorted, so '
            f'names would be wrong. Write {_line(folders)}')
    empty = [name for name in folders
             if not _has_picture(os.path.join(built.img_prefix, name), built)]
    # One that the config names may be empty: MMPretrain warns of it.
    if len(empty) == len(folders) or (empty and data.split == 'train'
                                      and classes is None):
        raise DataError(
            f'{where} has folders without pictures, {len(empty)} of {len(folders)}: '
            f'{_some(empty)}. {advice}Put pictures there, or remove the folders; '
            f'pictures end in {", ".join(sorted(built.extensions))}.')


def _some(folders: list[str]) -> str:
    return ', '.join(folders[:5]) + (', ...' if len(folders) > 5 else '')


def _line(folders: list[str]) -> str:
    if len(folders) <= 100:
        return names.line(folders)
    return 'metainfo=dict(classes=(...)) with the folders\' names, sorted'


def _has_picture(folder: str, built: Any) -> bool:
    return any(built.is_valid_file(name) and not name.startswith('.')
               for _, _, files in os.walk(folder) for name in files)


def _check_list(data: DataSet, heads: dict[str, int]) -> None:
    path, classes = data.built.ann_file, data.built.CLASSES
    count = len(classes) if classes else min(heads.values(), default=None)
    pictures = []
    try:
        with open(path) as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path} cannot be read: {error}.') from error
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.removeprefix('-').isdecimal():
            raise DataError(
                f'{path}: line {number}, {line!r}, is not the name of a picture, a '
                'space and the number of its class, for example cats/1.jpg 0. '
                'Mend the line or take it out.')
        label = int(label)
        if label < 0 or count is not None and label >= count:
            raise DataError(
                f'{path}: line {number}, {line!r}, has the label {label}. '
                + (f'The config has {count} classes, 0 to {count - 1}'
                   if count is not None else 'Labels begin at 0')
                + '. Mend the line, or name all classes in '
                f'{data.key}.metainfo.classes and num_classes.')
        pictures.append(os.path.join(data.built.img_prefix, name))
    if not pictures:
        raise DataError(f'{path} is empty; it has the name of a picture, a space and '
                        'the number of its class a line.')
    if classes:
        names.check_heads(heads, len(classes),
                          f'{data.key} has {len(classes)} classes')
    check_pictures(data.key, path, pictures)
