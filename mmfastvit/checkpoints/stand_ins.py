"""What a checkpoint's pickle may build, and inert stand-ins that build it.

Beside the weights, MMEngine's runner saves its log, ``HistoryBuffer`` objects
around arrays; Apple's and timm's trainers save their arguments. The originals trust
the file, with memory (an array of pointers, say) or with the state of a class, so
stand-ins take their place, for plain data only. Each checks the types of what it is
given before anything else looks at it: nested tuples can keep a hash, a repr or one
of PyTorch's error messages busy for ever.
"""
import argparse
import datetime
import math
import pathlib
import re
import types
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor, nn

from mmfastvit.utils.errors import CheckpointError

from .limits import MAX_DIMENSIONS, check_keys, exceeded, quote


def expect(allowed: tuple[type, ...], *values: Any) -> None:
    """Refuse values of other types than those.

    Raises:
        CheckpointError: One has another type, or one that is derived.
    """
    for value in values:
        if type(value) not in allowed:
            names = ' or '.join(known.__name__ for known in allowed) or 'nothing'
            raise CheckpointError(f'its pickle gives {quote(value)} where {names} '
                                  'belongs')


class _Kind:
    """Stand in for ``numpy.dtype``: a kind of numbers, or of strings."""

    def __init__(self, name: str):
        self.name = name
        self.order = '='


def _new_kind(name: str, *_: Any) -> _Kind:
    expect((str,), name)
    if not re.fullmatch(r'[fiu][1248]|b1|c8|c16|[SU]\d{1,5}', name):
        raise CheckpointError(f'it holds an array of {quote(name)}')
    return _Kind(name)


def _set_kind(kind: _Kind, state: tuple) -> None:
    expect((tuple,), state)
    expect((str,), state[1])
    if state[1] not in ('<', '>', '|'):
        raise CheckpointError(f'it holds a byte order {quote(state[1])}')
    kind.order = state[1]


def _new_array(*_: Any) -> np.ndarray:
    return np.empty(0)  # the file's arguments could name any memory


def _set_array(array: np.ndarray, state: tuple) -> None:
    expect((tuple,), state)
    _, shape, kind, fortran, raw = state
    expect((tuple,), shape)
    expect((int,), *shape)
    expect((_Kind,), kind)
    expect((bytes,), raw)  # other types could change under the array
    dtype = np.dtype(kind.order + kind.name)
    if (len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0
            or math.prod(shape) * dtype.itemsize != len(raw)):
        raise CheckpointError('it holds an array whose size is not that of its bytes')
    if dtype.kind == 'U' and raw and (np.frombuffer(
            raw, dtype.byteorder + 'u4') > 0x10ffff).any():
        raise CheckpointError('it holds an array of strings that are none')
    own = bytes(bytearray(raw))  # numpy keeps it, and lets its numbers be changed
    array.__setstate__((1, shape, dtype, fortran is True, own))


def _new_scalar(kind: _Kind, raw: bytes) -> np.generic:
    array = _new_array()
    _set_array(array, (1, (), kind, False, raw))
    return array[()]


def _new_history() -> HistoryBuffer:
    return HistoryBuffer()


def _set_history(history: HistoryBuffer, state: dict) -> None:
    # MMEngine's own takes the statistics, functions that all buffers share, from
    # the file.
    expect((dict,), state)
    logs = [state.get(name) for name in ('_log_history', '_count_history')]
    length = state.get('max_length')
    expect((np.ndarray,), *logs)
    expect((int,), length)
    if any(log.ndim != 1 or log.dtype.kind not in 'fiub' for log in logs) or len(
            {len(log) for log in logs}) > 1 or length < 1:
        raise CheckpointError('it holds a HistoryBuffer that is no list of numbers')
    history._log_history, history._count_history = logs
    history.max_length = length


def _history_attribute(owner: Any, name: str) -> str:
    """Stand in for ``getattr``, by which a buffer names its own methods."""
    expect((str,), name)
    if owner is not _new_history or name not in ('current', 'max', 'mean', 'min'):
        raise CheckpointError(f'it asks for the attribute {quote(name)} of a class')
    return name


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    expect((str,), text)
    return text.encode('latin1')


def _new_ordered_dict(items: list = ()) -> OrderedDict:
    expect((list, tuple), items)
    expect((list, tuple), *items)
    check_keys([item[0] for item in items], len(items))
    return OrderedDict(items)


def _set_ordered_dict(target: OrderedDict, state: dict) -> None:
    # torch keeps the versions of modules there. Others could hide methods.
    expect((dict,), state)
    if type(state.get('_metadata')) in (dict, OrderedDict):
        target._metadata = state['_metadata']


def _new_dict(*items: dict) -> dict:
    """Stand in for the dicts of config libraries; what else they hold is left out."""
    expect((dict,), *items)
    return dict(*items)


def _new_counter(counts: dict = {}) -> Counter:
    expect((dict,), counts)
    return Counter(counts)


def _new_set(items: list = ()) -> set:
    expect((list, tuple), items)
    check_keys(items, len(items))
    return set(items)


def _set_attributes(target: Any, state: dict) -> None:
    expect((dict,), state)
    expect((str,), *state)
    vars(target).update(state)


def _new_size(sizes: tuple) -> torch.Size:
    expect((tuple, list), sizes)
    expect((int,), *sizes)
    return torch.Size(sizes)


def _new_tensor(storage: Tensor, offset: int, size: tuple, stride: tuple,
                requires_grad: bool = False, hooks: Any = None,
                metadata: Any = None) -> Tensor:
    expect((Tensor,), storage)
    expect((tuple, torch.Size), size, stride)
    expect((int,), offset, *size, *stride)
    expect((bool,), requires_grad)
    if metadata:
        raise CheckpointError('it holds a tensor that is conjugate or negative by a '
                              'flag; call resolve_conj() and resolve_neg() first')
    if len(size) > MAX_DIMENSIONS:
        raise exceeded('a tensor of more dimensions', 'MAX_DIMENSIONS')
    if min(size, default=0) < 0 or math.prod(size) >= 2 ** 62:
        raise CheckpointError('it holds a tensor whose size is none')
    # as_strided holds the view against the storage's end.
    return storage.as_strided(size, stride, offset).requires_grad_(requires_grad)


def _new_typed_tensor(storage: Tensor, offset: int, size: tuple, stride: tuple,
                      requires_grad: bool, hooks: Any, dtype: torch.dtype,
                      metadata: Any = None) -> Tensor:
    expect((Tensor,), storage)
    expect((torch.dtype,), dtype)
    return _new_tensor(storage.view(dtype), offset, size, stride, requires_grad,
                       hooks, metadata)


def _new_parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    expect((Tensor,), data)
    expect((bool,), requires_grad)
    return nn.Parameter(data, requires_grad)


def _of(make: Callable, *allowed: type) -> Callable:
    """Return a function that makes what ``make`` makes of plain arguments alone."""
    def checked(*values):
        expect(allowed, *values)
        return make(*values)
    return checked


_STORAGES = dict(
    BFloat16=torch.bfloat16, Bool=torch.bool, Byte=torch.uint8, Char=torch.int8,
    ComplexDouble=torch.complex128, ComplexFloat=torch.complex64,
    Double=torch.float64, Float=torch.float32, Half=torch.float16, Int=torch.int32,
    Long=torch.int64, Short=torch.int16)
# Of the dicts that config libraries make of files, only the content is read.
_CONFIGS = ('addict.addict.Dict', 'detectron2.config.config.CfgNode',
            'easydict.EasyDict', 'fvcore.common.config.CfgNode',
            'lightning.fabric.utilities.data.AttributeDict',
            'lightning_fabric.utilities.data.AttributeDict',
            'mmcv.utils.config.ConfigDict', 'mmengine.config.config.ConfigDict',
            'pytorch_lightning.utilities.parsing.AttributeDict',
            'timm.utils.misc.AttrDict', 'yacs.config.CfgNode')

# All names that may stand in a file, and what is called in their place.
TRUSTED: dict[str, Any] = {
    '_codecs.encode': _latin1,
    'argparse.Namespace': _of(argparse.Namespace),
    'builtins.bytes': _of(bytes),  # none; others are written by _codecs.encode
    'builtins.complex': _of(complex, float),
    'builtins.frozenset': lambda items=(): frozenset(_new_set(items)),
    'builtins.getattr': _history_attribute,
    'builtins.set': _new_set,
    'collections.Counter': _new_counter,
    'collections.OrderedDict': _new_ordered_dict,
    'datetime.date': _of(datetime.date, bytes, int),
    'datetime.datetime': _of(datetime.datetime, bytes, int, datetime.timezone),
    'datetime.timedelta': _of(datetime.timedelta, int),
    'datetime.timezone': _of(datetime.timezone, datetime.timedelta, str),
    'mmengine.logging.history_buffer.HistoryBuffer': _new_history,
    'numpy.dtype': _new_kind,
    'numpy.ndarray': _new_array,
    **{f'numpy.{core}.multiarray.{name}': function  # _core since numpy 2
       for core in ('core', '_core')
       for name, function in (('_reconstruct', _new_array),
                              ('scalar', _new_scalar))},
    # The pure ones reach no file, and exist on every system.
    **{f'pathlib{module}.{name}Path': _of(pure, str)
       for module in ('', '._local')  # the latter in Python 3.13
       for name, pure in (('Posix', pathlib.PurePosixPath),
                          ('PurePosix', pathlib.PurePosixPath),
                          ('Windows', pathlib.PureWindowsPath),
                          ('PureWindows', pathlib.PureWindowsPath))},
    'torch.Size': _new_size,
    'torch.device': _of(torch.device, str, int),
    'torch._utils._rebuild_parameter': _new_parameter,
    'torch._utils._rebuild_tensor': _new_tensor,
    'torch._utils._rebuild_tensor_v2': _new_tensor,
    'torch._utils._rebuild_tensor_v3': _new_typed_tensor,
    'torch.storage.UntypedStorage': torch.uint8,
    **{f'torch.{name}Storage': dtype for name, dtype in _STORAGES.items()},
    **{str(dtype): dtype for dtype in vars(torch).values()
       if isinstance(dtype, torch.dtype)},
    'types.SimpleNamespace': _of(types.SimpleNamespace),
    **{name: _new_dict for name in _CONFIGS},
}

# What may be changed after it was made, and how.
SETTERS: dict[type, Callable[[Any, Any], None]] = {
    HistoryBuffer: _set_history,
    OrderedDict: _set_ordered_dict,
    _Kind: _set_kind,
    argparse.Namespace: _set_attributes,
    dict: lambda target, state: None,  # a config's attributes are its own affair
    np.ndarray: _set_array,
    types.SimpleNamespace: _set_attributes,
}
