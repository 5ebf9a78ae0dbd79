"""FreiHAND's lists, and files of a hand: read as they were written, or refused."""
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from mmfastvit.datasets.freihand import FreiHANDDataset
from mmfastvit.datasets.hands import HandsSpec, generate_hands

from .case import Case, Kind, nothing
from .damage import append, cut, flip, mix, no_file_of_ours, write

LISTS = 'training_K.json', 'training_xyz.json', 'training_verts.json'
HAND_FILE = 'hand.safetensors'


def prepare(good: Path) -> None:
    generate_hands(good / 'hands', HandsSpec(num_train=8, num_evaluation=2,
                                             image_size=64))


def read(root: Path) -> list[np.ndarray]:
    """Return all that a training sees but for pixels."""
    dataset = FreiHANDDataset(str(root), 'trainval', ('gs',), HAND_FILE)
    return [*dataset.hands(), np.stack([item['K'] for item in map(
        dataset.get_data_info, range(len(dataset)))]),
        np.asarray(dataset.metainfo['faces'])]


def damaged(name: str, data: bytes, folder: Path, good: Path,
            accepts: Callable[[Any], bool] | None = None, **options: Any) -> Case:
    """Return a case with another content of one file; ``options`` are of ``Case``."""
    shutil.copytree(good / 'hands', folder / 'hands')
    write(folder / 'hands' / name, data)
    expected = read(good / 'hands')

    def is_equal(found: list[np.ndarray]) -> bool:
        return all(map(np.array_equal, found, expected))

    # What is wrong between lists is said of the folder and the split.
    return Case(lambda: read(folder / 'hands'), accepts or is_equal,
                (name, 'training lists', f'{folder / "hands"}: its lists'), **options)


def bytes_of_a_list(random: Random, folder: Path, good: Path) -> Case:
    name = random.choice(LISTS)
    data = (good / 'hands' / name).read_bytes()
    change = random.choice((flip, cut, mix, append))
    return damaged(name, change(random, data), folder, good,
                   untold=change in (flip, mix), about=f'{change.__name__} {name}')


def another_file(random: Random, folder: Path, good: Path) -> Case:
    return damaged(random.choice((*LISTS, HAND_FILE)), no_file_of_ours(random), folder,
                   good, nothing)


def values_of_a_list(random: Random, folder: Path, good: Path) -> Case:
    """Change one number, row or entry to what no list has."""
    name = random.choice(LISTS)
    entries = json.loads((good / 'hands' / name).read_text())
    entry = random.randrange(len(entries))
    odd = random.choice((math.nan, math.inf, 1e300, 10**400, None, 'x', [], {},
                         [[1.]], '1'))
    where = random.choice(('number', 'row', 'entry', 'fewer', 'more', 'all'))
    if where == 'number':
        entries[entry][0][0] = odd
    elif where == 'row':
        entries[entry][0] = odd
    elif where == 'entry':
        entries[entry] = odd
    elif where == 'fewer':
        del entries[entry]
    elif where == 'more':
        entries.append(entries[entry])
    else:
        entries = odd
    return damaged(name, json.dumps(entries).encode(), folder, good, nothing,
                   about=f'{where} of {name}: {odd!r}')


def behind_the_camera(random: Random, folder: Path, good: Path) -> Case:
    name = random.choice(LISTS[1:])
    entries = json.loads((good / 'hands' / name).read_text())
    for point in entries[random.randrange(len(entries))]:
        point[2] *= -1
    return damaged(name, json.dumps(entries).encode(), folder, good, nothing)


def spaces(random: Random, folder: Path, good: Path) -> Case:
    name = random.choice(LISTS)
    entries = json.loads((good / 'hands' / name).read_text())
    text = json.dumps(entries, indent=random.choice((None, 1, '\t')))
    return damaged(name, f' {text}\r\n'.encode(), folder, good, refusable=False)


def bytes_of_the_hand(random: Random, folder: Path, good: Path) -> Case:
    data = (good / 'hands' / HAND_FILE).read_bytes()
    change = random.choice((flip, cut, mix, append))
    return damaged(HAND_FILE, change(random, data), folder, good,
                   untold=change in (flip, mix), about=change.__name__)


KIND = Kind(prepare, (bytes_of_a_list, values_of_a_list, another_file, spaces,
                      behind_the_camera, bytes_of_the_hand), 240)
