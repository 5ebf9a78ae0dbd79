"""What a checkpoint's pickle may build, and reading it where torch is too old.

Beside the weights, MMEngine's runner saves its log: ``HistoryBuffer`` objects
around arrays. numpy's own unpickling trusts the file with memory (an array of
pointers, say), so stand-ins take its place, for plain numbers only.
"""
import pickle
import re
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor, nn

from mmfastvit.utils.errors import CheckpointError


class _Number:
    """Stand in for ``numpy.dtype``."""

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r'[fiub][1248]', name):
            raise CheckpointError(f'the file holds an array of {name!r}')
        self.name = name

    def __setstate__(self, state):
        if state[1] not in ('<', '>', '|'):
            raise CheckpointError(f'the file holds a byte order {state[1]!r}')
        self.name = state[1].replace('|', '') + self.name


def _numbers(raw: bytes, kind: _Number) -> np.ndarray:
    """Return the numbers in ``raw``, a view."""
    # Other types could be changed, and their memory freed, under the view.
    if type(raw) is not bytes or type(kind) is not _Number:
        raise CheckpointError('the file holds an array that is no bytes')
    return np.frombuffer(raw, kind.name)


class _Array(np.ndarray):
    """Stand in for ``numpy.ndarray``; it is saved again as one."""

    def __new__(cls, *_):  # the file's arguments could name any memory
        return super().__new__(cls, 0)

    def __setstate__(self, state):
        _, shape, kind, fortran, raw = state
        values = _numbers(raw, kind).reshape(shape, order='F' if fortran else 'C')
        self.dtype = values.dtype
        self.resize(values.shape, refcheck=False)
        self[...] = values

    def __reduce__(self):
        return np.array(self).__reduce__()


def _new_array(cls: type, shape: tuple, kind: bytes) -> _Array:
    return _Array()


def _new_scalar(kind: _Number, raw: bytes) -> np.generic:
    return _numbers(raw, kind)[0]


_STATISTICS = ('current', 'max', 'mean', 'min')


def _history_attribute(owner: Any, name: str) -> Any:
    """Stand in for ``getattr``, by which a buffer names its own methods."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise CheckpointError(f'the file asks for {owner!r}.{name}')
    return getattr(owner, name)


# The log's names, beside those that torch trusts itself.
_LOG = {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'builtins.getattr': _history_attribute,
    'numpy.ndarray': _Array,
    'numpy.dtype': _Number,
    **{f'numpy.{core}.multiarray.{name}': function  # _core since numpy 2
       for core in ('core', '_core')
       for name, function in (('_reconstruct', _new_array),
                              ('scalar', _new_scalar))},
}


def load_pickle(path: Path, map_location: Any = 'cpu') -> Any:
    """Return what ``torch.save`` wrote, executing none of it.

    Args:
        path: The file.
        map_location: Where its tensors go, as for ``torch.load``.

    Raises:
        Exception: Of many classes; the file is damaged or holds other objects.
    """
    # Before, weights_only let some files execute code (CVE-2025-32434).
    if torch.__version__ >= '2.6':
        trusted = [(value, name) for name, value in _LOG.items()]
        with torch.serialization.safe_globals(trusted):
            return torch.load(path, map_location=map_location, weights_only=True)
    return load_zip(path, map_location)


def load_zip(path: Path, device: torch.device | str | None = 'cpu') -> Any:
    """Read a file by ``torch.save`` without ``torch.load``.

    Only the zip format, torch's default since 1.6, of dense tensors and plain
    data; TorchScript archives hold code, and are refused like all else.

    Args:
        path: The file.
        device: Where its tensors go; None means the CPU.

    Raises:
        Exception: Of many classes; the file is damaged or holds other objects.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise CheckpointError('it is not, or not wholly, in torch\'s zip format; '
                              'others need torch 2.6 or newer') from error
    with archive:
        return _Unpickler(archive, device or 'cpu').load()


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    return text.encode('latin1')


def _new_tensor(storage: Tensor, offset: int, size: tuple, stride: tuple,
                requires_grad: bool, *_: Any) -> Tensor:
    # as_strided holds the view against the storage's end.
    return storage.as_strided(size, stride, offset).requires_grad_(requires_grad)


def _new_parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    return nn.Parameter(data, requires_grad)


# Without torch.load all names count that may stand in a file.
_TRUSTED = {
    **_LOG,
    '_codecs.encode': _latin1,
    'builtins.set': set,
    'collections.Counter': Counter,
    'collections.OrderedDict': OrderedDict,
    'torch.Size': torch.Size,
    'torch._utils._rebuild_parameter': _new_parameter,
    'torch._utils._rebuild_tensor_v2': _new_tensor,
    **{f'torch.{name}Storage': dtype for name, dtype in (
        ('BFloat16', torch.bfloat16), ('Bool', torch.bool), ('Byte', torch.uint8),
        ('Char', torch.int8), ('Double', torch.float64), ('Float', torch.float32),
        ('Half', torch.float16), ('Int', torch.int32), ('Long', torch.int64),
        ('Short', torch.int16))},
}


def _is_trusted(target: Any) -> bool:
    return any(target is value for value in _TRUSTED.values())


def _is_list(target: Any) -> bool:
    return type(target) is list


def _is_dict(target: Any) -> bool:
    return type(target) in (dict, OrderedDict)


def _is_built(target: Any) -> bool:
    return type(target) in (OrderedDict, HistoryBuffer, _Array, _Number)


# What an opcode calls or changes: where that lies, and what it may be. As in
# torch's own restricted unpickler, a trusted name is called but not changed,
# and what a call returns is not called.
_GUARDS = (
    (pickle.REDUCE, lambda self: self.stack[-2], _is_trusted),
    (pickle.NEWOBJ, lambda self: self.stack[-2], _is_trusted),
    (pickle.BUILD, lambda self: self.stack[-2], _is_built),
    (pickle.APPEND, lambda self: self.stack[-2], _is_list),
    (pickle.APPENDS, lambda self: self.metastack[-1][-1], _is_list),
    (pickle.SETITEM, lambda self: self.stack[-3], _is_dict),
    (pickle.SETITEMS, lambda self: self.metastack[-1][-1], _is_dict),
    # Unused by torch.save, which writes protocol 2.
    *((code, lambda self: None, lambda target: False) for code in (
        pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.ADDITEMS)),
)


def _guarded(code: bytes, find: Callable, allowed: Callable) -> Callable:
    """Return the loader of an opcode, preceded by its guard."""
    load = pickle._Unpickler.dispatch[code[0]]

    def checked(self):
        if not allowed(find(self)):
            raise CheckpointError('its pickle calls or changes what it must not')
        load(self)
    return checked


class _Unpickler(pickle._Unpickler):
    """Unpickle trusted names alone, and tensors from their archive."""

    dispatch = {**pickle._Unpickler.dispatch,
                **{guard[0][0]: _guarded(*guard) for guard in _GUARDS}}

    def __init__(self, archive: zipfile.ZipFile, device: torch.device | str):
        names = archive.namelist()
        self.root = next((name.removesuffix('data.pkl') for name in names
                          if re.fullmatch('[^/]+/data.pkl', name)), '')
        super().__init__(archive.open(f'{self.root}data.pkl'))
        self.archive = archive
        self.device = device
        self.storages: dict[tuple, Tensor] = {}
        order = f'{self.root}byteorder'
        if order in names and archive.read(order).decode() != sys.byteorder:
            raise CheckpointError('its numbers are in the other byte order')

    def find_class(self, module: str, name: str) -> Any:
        name = f'{module.replace("__builtin__", "builtins")}.{name}'
        if name not in _TRUSTED:
            raise CheckpointError(f'it holds a {name}')
        return _TRUSTED[name]

    def persistent_load(self, saved: tuple) -> Tensor:
        _, dtype, key, _, _ = saved
        if (key, dtype) not in self.storages:
            raw = bytearray(self.archive.read(f'{self.root}data/{key}'))
            self.storages[key, dtype] = (
                torch.frombuffer(raw, dtype=dtype) if raw
                else torch.empty(0, dtype=dtype)).to(self.device)
        return self.storages[key, dtype]
