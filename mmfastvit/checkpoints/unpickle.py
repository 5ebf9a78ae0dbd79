"""Reading what ``torch.save`` wrote, executing none of it, in bounded time and memory.

One reader for every PyTorch, in the place of ``torch.load``: until PyTorch 2.6,
``weights_only`` let some files execute code (CVE-2025-32434); since then, damaged
numbers are loaded without a word; and in all of them a small file can ask for any
time and memory, and errors advise to execute the file. Sparse and quantized
tensors, and subclasses of tensors, which no network here has, are refused.
"""
import mmap
import pickle
import pickletools
import sys
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError

from .archive import Archive
from .limits import (
    MAX_DEPTH,
    MAX_STEPS,
    Budget,
    check_keys,
    check_nesting,
    exceeded,
    quote,
)
from .stand_ins import SETTERS, TRUSTED, expect

# How files before PyTorch 1.6 begin.
_LEGACY_START = [0x1950a86a20f9469cfc6c, 1001]
_CALLED = {id(target) for target in TRUSTED.values() if callable(target)}


class ForeignObjectError(CheckpointError):
    """A file holds what is neither tensors nor plain data."""


def load_pickle(path: Path, map_location: Any = 'cpu') -> Any:
    """Return what ``torch.save`` wrote, executing none of it.

    Args:
        path: The file.
        map_location: Where its tensors go, as for ``torch.load``; None means
            the CPU.

    Raises:
        Exception: Of many classes; the file is damaged or holds other objects.
    """
    with open(path, 'rb') as file:
        file_bytes = path.stat().st_size
        load = _load_zip if file.read(4) == b'PK\3\4' else _load_legacy
        content = load(file, file_bytes, map_location)
    check_nesting(content)
    return content


def _load_zip(file: BinaryIO, file_bytes: int, map_location: Any) -> Any:
    archive = Archive(file, file_bytes)
    if 'byteorder' in archive and (
            bytes(archive.read('byteorder').numpy()).decode() != sys.byteorder):
        raise CheckpointError('its numbers are in the other byte order')
    read: dict[str, Tensor] = {}

    def load_storage(key: str, num_bytes: int, location: str) -> Tensor:
        if key not in read:
            read[key] = _place(archive.read(f'data/{key}'), map_location, location)
        return read[key]
    pickled = BytesIO(archive.read('data.pkl').numpy())
    return RestrictedUnpickler(pickled, Budget(file_bytes), load_storage).load()


def _load_legacy(file: BinaryIO, file_bytes: int, map_location: Any) -> Any:
    """Read the format before PyTorch 1.6: pickles, behind them the numbers."""
    file.seek(0)
    if file.read(1) != pickle.PROTO:
        raise CheckpointError('it does not begin as a file by torch.save does')
    budget = Budget(file_bytes)
    # Its read() does not set aside what the file announces and does not hold.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start = [RestrictedUnpickler(mapped, budget).load() for _ in _LEGACY_START]
        expect((int,), *start)
        system = RestrictedUnpickler(mapped, budget).load()
        if start != _LEGACY_START or type(system) is not dict:
            raise CheckpointError('it does not begin as a file by torch.save does')
        if system.get('little_endian') is not (sys.byteorder == 'little'):
            raise CheckpointError('its numbers are in the other byte order')
        sizes: dict[str, int] = {}
        where: dict[str, str] = {}

        def note(key: str, num_bytes: int, location: str) -> Tensor:
            if sizes.setdefault(key, num_bytes) != num_bytes:
                raise CheckpointError('it gives one storage two sizes')
            where[key] = location
            return torch.empty(num_bytes, dtype=torch.uint8, device='meta')
        content_at = mapped.tell()
        # The first time for the sizes of the storages, which stand behind.
        RestrictedUnpickler(mapped, budget, note).load()
        keys = RestrictedUnpickler(mapped, budget).load()
        expect((list,), keys)
        expect((str,), *keys)
        if sorted(keys) != sorted(sizes) or sum(sizes.values()) > file_bytes:
            raise CheckpointError('its storages are not those of its tensors')
        read = {}
        for key in keys:
            length = int.from_bytes(mapped.read(8), sys.byteorder)
            raw = bytearray(mapped.read(sizes[key]))
            # Counted in numbers of 1 to 16 bytes each.
            if len(raw) < sizes[key] or length * 16 < len(raw) or length > len(raw):
                raise CheckpointError('it is cut short, or damaged')
            content = (torch.frombuffer(raw, dtype=torch.uint8) if raw
                       else torch.empty(0, dtype=torch.uint8))
            read[key] = _place(content, map_location, where[key])
        mapped.seek(content_at)
        return RestrictedUnpickler(mapped, Budget(file_bytes),
                                   lambda key, *_: read[key]).load()


def _place(raw: Tensor, map_location: Any, location: str) -> Tensor:
    """Return bytes on the device that ``map_location`` says."""
    device = map_location
    if isinstance(map_location, dict):
        device = map_location.get(location, location)
    elif callable(map_location):
        moved = map_location(raw.untyped_storage(), location)
        device = location if moved is None else moved.device
    return raw.to(device or 'cpu')


def _foreign(file: Any, start: int, name: str) -> ForeignObjectError:
    """Return the error that names the classes a pickle asks for."""
    names = {name}
    try:
        file.seek(start)
        for opcode, argument, _ in islice(pickletools.genops(file), 100_000):
            if opcode.name == 'GLOBAL':
                names.add(_full_name(*argument.split(' ', 1)))
    except Exception:  # noqa: S110 - what was found before is told
        pass
    foreign = sorted(names - TRUSTED.keys())
    more = f' and {len(foreign) - 5} more' if len(foreign) > 5 else ''
    return ForeignObjectError(
        'beside tensors and plain data it holds, or calls, '
        f'{", ".join(quote(known)[1:-1] for known in foreign[:5])}{more}')


def _full_name(module: str, name: str) -> str:
    return f'{module.replace("__builtin__", "builtins")}.{name}'


class RestrictedUnpickler(pickle._Unpickler):
    """Unpickle trusted names alone, and storages through a function.

    As in torch's own restricted unpickler, a trusted name is called but not changed,
    and what a call returns is not called.

    Args:
        file: What to read from.
        budget: Of the whole file.
        load_storage: From key, size and place to the bytes of a storage; None
            refuses them.

    Attributes:
        steps: By code, what a pickle may do.
        writer: Who writes such pickles, for the message.
        text_encoding: Of strings of Python 2.
    """

    steps: dict[bytes, Callable]
    writer = 'torch.save'
    text_encoding = 'utf-8'

    def __init__(self, file: BinaryIO | mmap.mmap, budget: Budget,
                 load_storage: Callable[[str, int, str], Tensor] | None = None):
        super().__init__(file, encoding=self.text_encoding)
        self.file = file
        self.start = file.tell()
        self.budget = budget
        self.load_storage = load_storage

    def load(self) -> Any:
        # The base class's loop, with a bound, and without the frames of protocol 4.
        self.read, self.readline = self.file.read, self.file.readline
        self.memo, self.metastack, self.stack = {}, [], []
        self.append = self.stack.append
        for _ in range(MAX_STEPS):
            code = self.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in self.steps:
                raise CheckpointError(f'its pickle has a step {code.hex()}, which '
                                      f'{self.writer} never writes' if code else
                                      'its pickle is cut short')
            self.steps[code](self)
        raise exceeded('more steps of its pickle', 'MAX_STEPS')

    def find_class(self, module: str, name: str) -> Any:
        name = _full_name(module, name)
        if name not in TRUSTED:
            raise _foreign(self.file, self.start, name)
        return TRUSTED[name]

    def persistent_load(self, saved: tuple) -> Tensor:
        expect((tuple,), saved)
        kind, dtype, key, location, numel, *view = saved
        expect((str,), kind, key, location)
        expect((torch.dtype,), dtype)
        expect((int,), numel)
        num_bytes = numel * dtype.itemsize
        if self.load_storage is None or kind != 'storage' or view not in ([], [None]):
            raise CheckpointError('it holds modules, or storages out of place')
        if not 0 <= num_bytes < 2 ** 62:
            raise CheckpointError('it holds a storage whose size is none')
        raw = self.load_storage(key, num_bytes, location)
        if len(raw) != num_bytes:
            raise CheckpointError(f'its storage {quote(key)} has {len(raw)} bytes, and '
                                  f'is said to have {num_bytes}')
        return raw.view(dtype)

    def open_mark(self) -> None:
        if len(self.metastack) > MAX_DEPTH:
            raise exceeded('deeper nests', 'MAX_DEPTH')
        self.load_mark()

    def call(self) -> None:
        arguments = self.stack.pop()
        target = self.stack.pop()
        expect((tuple,), arguments)
        if id(target) not in _CALLED:
            raise CheckpointError('its pickle calls what it must not')
        self.budget.copy(arguments)
        made = target(*arguments)
        if type(made) is Tensor:
            self.budget.view(made)
        self.append(made)

    def set_state(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        self._check_target(target, SETTERS)
        if type(state) is tuple:
            self.budget.copy(state)
        SETTERS[type(target)](target, state)

    def append_one(self) -> None:
        self._check_target(self.stack[-2], (list,))
        self.load_append()

    def append_all(self) -> None:
        self._check_target(self.metastack[-1][-1], (list,))
        self.load_appends()

    def set_one(self) -> None:
        self._check_target(self.stack[-3], (dict, OrderedDict))
        check_keys(self.stack[-2:-1], len(self.stack[-3]) + 1)
        self.load_setitem()

    def set_all(self) -> None:
        target = self.metastack[-1][-1]
        self._check_target(target, (dict, OrderedDict))
        check_keys(self.stack[::2], len(target) + len(self.stack) // 2)
        self.load_setitems()

    @staticmethod
    def _check_target(target: Any, allowed: Any) -> None:
        if type(target) not in allowed:
            raise CheckpointError('its pickle changes what it must not')


# What torch.save writes, in protocol 2.
RestrictedUnpickler.steps = {
    **{code: pickle._Unpickler.dispatch[code[0]] for code in (
        pickle.PROTO, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE,
        pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT,
        pickle.BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING,
        pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.EMPTY_TUPLE, pickle.TUPLE,
        pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST,
        pickle.EMPTY_DICT, pickle.GLOBAL, pickle.BINPERSID, pickle.BINGET,
        pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT)},
    pickle.MARK: RestrictedUnpickler.open_mark,
    pickle.REDUCE: RestrictedUnpickler.call,
    pickle.NEWOBJ: RestrictedUnpickler.call,
    pickle.BUILD: RestrictedUnpickler.set_state,
    pickle.APPEND: RestrictedUnpickler.append_one,
    pickle.APPENDS: RestrictedUnpickler.append_all,
    pickle.SETITEM: RestrictedUnpickler.set_one,
    pickle.SETITEMS: RestrictedUnpickler.set_all,
}
