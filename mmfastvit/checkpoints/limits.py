"""How much a checkpoint file may ask for; real ones stay far below.

A file decides what is built from it. What takes more than its size lets expect, in
time or in memory, is an attack or damage, and is refused by the limit's name.
"""
import argparse
import types
from collections import OrderedDict
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError

# The list of the members of a zip file, or of the tensors of a .safetensors file.
MAX_INDEX_BYTES = 8 * 2 ** 20
# Steps of a pickle: about 30 a tensor, one or two an entry of a list.
MAX_STEPS = 2_000_000
# Containers in containers, and entries in all, counted as often as they are met by
# whoever walks through the content.
MAX_DEPTH = 100
MAX_ENTRIES = 4_000_000
# Python's hashes of tuples can be made to agree, which makes a dict slow.
MAX_TUPLE_KEYS = 1000
MAX_DIMENSIONS = 64
# What unpickling may copy, and what all tensors may hold if they share memory, in
# sizes of the file.
MAX_COPIES = 4
MAX_VIEWS = 16
# Small files may have more.
_ALWAYS_COPIED = 2 ** 20
_ALWAYS_VIEWED = 2 ** 26

_CONTAINERS = (dict, list, tuple, set, frozenset, argparse.Namespace,
               types.SimpleNamespace)
_PLAIN_KEYS = (str, bytes, int, float, bool, type(None))
_NUMPY_KEYS = (np.str_, np.bytes_, np.integer, np.floating, np.bool_)
_MAX_INT_KEY = 2 ** 60  # above it, Python's hashes of ints agree at will


def exceeded(what: str, limit: str) -> CheckpointError:
    """Return the error of a file that asks for more than a limit.

    Args:
        what: What there is too much of.
        limit: The limit's name in this file.
    """
    return CheckpointError(
        f'it asks for {what} than any real checkpoint (the limit {limit} in '
        f'mmfastvit/checkpoints/limits.py is {globals()[limit]:,})')


def quote(text: Any) -> str:
    """Return what a file names, short and harmless on a terminal."""
    # The repr of other types, of nested tuples for example, may never end.
    if not isinstance(text, str):
        return f'a {type(text).__name__}'
    return ascii(text if len(text) <= 80 else text[:80] + '...')


class Budget:
    """What one file has used up of ``MAX_COPIES`` and ``MAX_VIEWS``.

    Args:
        file_bytes: The size of the file.
    """

    def __init__(self, file_bytes: int):
        self.copies = MAX_COPIES * file_bytes + _ALWAYS_COPIED
        self.views = MAX_VIEWS * file_bytes + _ALWAYS_VIEWED

    def copy(self, parts: Iterable) -> None:
        """Count what a call may copy of its arguments.

        Raises:
            CheckpointError: It is too much.
        """
        for part in parts:
            if isinstance(part, (str, bytes)):
                self.copies -= len(part)
            elif isinstance(part, (list, tuple, dict)):
                self.copies -= 8 * len(part)
        if self.copies < 0:
            raise exceeded('more copies of its data', 'MAX_COPIES')

    def view(self, tensor: Tensor) -> None:
        """Count a tensor.

        Raises:
            CheckpointError: It is too much.
        """
        self.views -= tensor.numel() * tensor.element_size()
        if self.views < 0:
            raise exceeded('larger tensors', 'MAX_VIEWS')


def check_keys(keys: Iterable, total: int) -> None:
    """Refuse keys that take long to hash: nested tuples, and equal hashes.

    Args:
        keys: What is about to be hashed.
        total: How many entries the dict or set then has.

    Raises:
        CheckpointError: One is not plain, or there are too many tuples.
    """
    for key in keys:
        parts = (key,)
        if type(key) is tuple:
            parts = key
            if total > MAX_TUPLE_KEYS:
                raise exceeded('more keys that are tuples', 'MAX_TUPLE_KEYS')
        for part in parts:
            if (type(part) not in _PLAIN_KEYS and not isinstance(part, _NUMPY_KEYS)
                    or isinstance(part, int) and abs(part) >= _MAX_INT_KEY):
                raise CheckpointError(f'one of its dicts has {quote(part)} for a key')


def check_nesting(content: Any) -> None:
    """Refuse content that a walk through it would not soon get out of.

    What comes after may then walk without care, recursively and entering what is
    there twice twice.

    Raises:
        CheckpointError: A container holds itself, or the nest is too deep or large.
    """
    entries: dict[int, int | None] = {}  # by id; None while a container is open
    root = [content]
    opened = [(root, iter(root))]
    counts = [1]  # of the entries so far, a container that is open
    while opened:
        container, parts = opened[-1]
        count = counts[-1]
        for part in parts:
            if not isinstance(part, _CONTAINERS):
                count += 1
            elif id(part) not in entries:
                if len(opened) > MAX_DEPTH:
                    raise exceeded('deeper nests', 'MAX_DEPTH')
                counts[-1] = count
                entries[id(part)] = None
                opened.append((part, iter(_parts(part))))
                counts.append(1)
                break
            elif entries[id(part)] is None:
                raise CheckpointError(f'it holds a {type(part).__name__} that holds '
                                      'itself')
            else:
                count += entries[id(part)]
        else:
            if count > MAX_ENTRIES:
                raise exceeded('more entries', 'MAX_ENTRIES')
            opened.pop()
            counts.pop()
            entries[id(container)] = count
            if counts:
                counts[-1] += count


def _parts(container: Any) -> Iterable:
    if isinstance(container, dict):
        attributes = vars(container) if type(container) is OrderedDict else {}
        return chain(container, container.values(), attributes.values())
    if isinstance(container, (argparse.Namespace, types.SimpleNamespace)):
        return vars(container).values()
    return container
