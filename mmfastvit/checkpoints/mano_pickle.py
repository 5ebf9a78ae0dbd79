"""Reading MANO's pickle, which nobody has vouched for, executing none of it.

It is of Python 2, and of objects of chumpy and scipy. Here they become records of what
the file says: no class is looked up, none of its functions is called. Only of the few
records that are asked for, this file makes arrays, once their sizes are those of their
bytes.
"""
import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mmfastvit.utils.errors import CheckpointError

from .limits import MAX_DIMENSIONS, Budget, check_keys, check_nesting, quote
from .stand_ins import expect
from .unpickle import RestrictedUnpickler

# MANO's has 4 MB; in protocol 0 it would have three times that.
_MAX_BYTES = 2 ** 24
# Numbers of a sparse matrix, zeros among them: those are not in the file. MANO's has
# 16 x 778.
_MAX_DENSE = 2 ** 16


def read_arrays(path: Path, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield arrays out of the dict that a pickle of protocol 0 to 2 is.

    Args:
        path: The file.
        keys: Of the arrays; what the file holds under others is not looked at.

    Yields:
        A key, and what numpy, scipy or chumpy would make of what is under it; its
        memory may not be writable.

    Raises:
        Exception: Of many classes; the file is damaged, holds other objects, or lacks
            a key.
    """
    with path.open('rb') as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise CheckpointError(f'it has more than {_MAX_BYTES:,} bytes, and MANO has 4 '
                              'million')
    content = _RecordUnpickler(BytesIO(raw), Budget(len(raw))).load()
    expect((dict,), content)
    check_nesting(content)
    for key in keys:
        if key not in content:
            raise CheckpointError(f'it has no {key}')
        try:
            array = _read(content[key], _READERS)
        except CheckpointError as error:
            raise CheckpointError(f'under {key}, {error}') from error
        yield key, array


@dataclass(slots=True, eq=False)
class Record:
    """What a pickle says of an object, which is not made.

    Attributes:
        name: Of its class, or of the function that would return it.
        arguments: What that would be called with; None for the class itself.
        state: What the object would be given then; None before that.
    """

    name: str
    arguments: tuple | None = None
    state: Any = None


# What a file may name, beside all of chumpy.
_NAMES = {
    '__builtin__.object', '__builtin__.set', 'builtins.object', 'builtins.set',
    '_codecs.encode', 'copy_reg._reconstructor', 'copyreg._reconstructor',
    'numpy.dtype', 'numpy.ndarray', 'numpy.core.multiarray._reconstruct',
    'numpy._core.multiarray._reconstruct',  # since numpy 2
    'scipy.sparse.csc.csc_matrix',
    'scipy.sparse._csc.csc_matrix',  # since scipy 1.8
}
_KINDS = {'f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1'}


class _RecordUnpickler(RestrictedUnpickler):
    """Unpickle plain data, and records in the place of all else."""

    writer = 'MANO'
    text_encoding = 'latin-1'  # of which bytes of arrays are, too

    def find_class(self, module: str, name: str) -> Record:
        name = f'{module}.{name}'
        if name not in _NAMES and not name.startswith('chumpy.'):
            raise CheckpointError(f'it holds {quote(name)}, which no MANO file holds')
        return Record(name)

    def call(self) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        expect((tuple,), arguments)
        expect((Record,), target)
        if target.arguments is not None:
            raise CheckpointError('its pickle calls what it must not')
        if target.name.endswith('._reconstructor'):  # protocol 0 makes objects by it
            target = arguments[0]
            expect((Record,), target)
        if target.name == 'numpy.dtype':
            expect((str,), arguments[0])
            if arguments[0] not in _KINDS:
                raise CheckpointError(f'it holds an array of {quote(arguments[0])}, '
                                      'and may hold numbers')
        self.append(Record(target.name, arguments))

    def set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        expect((Record,), target)
        if target.arguments is None or target.state is not None:
            raise CheckpointError('its pickle changes what it must not')
        target.state = state

    def make_dict(self) -> None:
        check_keys(self.stack[::2], len(self.stack) // 2)
        self.load_dict()


_Step = Callable[[_RecordUnpickler], None]


def _of_short_line(code: bytes, most: int) -> _Step:
    """Return the base class's step, which reads a line, with a bound on the line.

    Numbers of millions of digits take long, and large ones of equal hashes as well.
    """
    load = pickle._Unpickler.dispatch[code[0]]

    def step(unpickler: _RecordUnpickler) -> None:
        unpickler.readline = lambda: unpickler.file.readline(most)
        load(unpickler)
        unpickler.readline = unpickler.file.readline
    return step


_RecordUnpickler.steps = {
    **RestrictedUnpickler.steps,
    **{code: pickle._Unpickler.dispatch[code[0]]
       for code in (pickle.STRING, pickle.UNICODE, pickle.LIST)},
    **{code: _of_short_line(code, 32)
       for code in (pickle.INT, pickle.LONG, pickle.FLOAT)},
    **{code: _of_short_line(code, 8) for code in (pickle.PUT, pickle.GET)},
    pickle.DICT: _RecordUnpickler.make_dict,
    pickle.REDUCE: _RecordUnpickler.call,
    pickle.NEWOBJ: _RecordUnpickler.call,
    pickle.BUILD: _RecordUnpickler.set_state,
}
_Readers = dict[str, Callable[[Any], np.ndarray]]


def _read(record: Any, readers: _Readers) -> np.ndarray:
    """Return the array that a record tells of, if it is one of some kinds."""
    name = record.name if type(record) is Record else None
    if name not in readers:
        raise CheckpointError(f'there is {quote(name or record)} where an array '
                              'belongs')
    return readers[name](record.state)


def _array(state: tuple) -> np.ndarray:
    expect((tuple,), state)
    _, shape, kind, fortran, raw = state
    expect((tuple,), shape)
    expect((int,), *shape)
    dtype = _dtype(kind)
    if type(raw) is Record and raw.name == '_codecs.encode':  # Python 3's bytes
        expect((tuple,), raw.arguments)
        raw = raw.arguments[0]
    expect((str,), raw)
    if (len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0
            or math.prod(shape) * dtype.itemsize != len(raw)):
        raise CheckpointError('an array has a size that is not that of its bytes')
    return np.frombuffer(raw.encode('latin-1'), dtype).reshape(
        shape, order='F' if fortran is True else 'C')


def _dtype(kind: Record) -> np.dtype:
    expect((Record,), kind)
    expect((tuple,), kind.arguments, kind.state)
    name, order = kind.arguments[0], kind.state[1]
    expect((str,), name, order)
    if name not in _KINDS or order not in ('<', '>', '|'):
        raise CheckpointError(f'an array is of {quote(order + name)}')
    return np.dtype(order + name)


def _variable(state: dict) -> np.ndarray:
    """Return the array of a ``Ch`` that computes nothing."""
    expect((dict,), state)
    return _read(state.get('x'), _ARRAYS)


def _selection(state: dict) -> np.ndarray:
    """Return what ``Select`` picks out of an array."""
    expect((dict,), state)
    source = _read(state.get('a'), _ARRAYS_AND_VARIABLES).ravel()
    places = _integers(state.get('idxs'))
    shape = state.get('preferred_shape')
    expect((tuple,), shape)
    expect((int,), *shape)
    if not ((places >= 0) & (places < len(source))).all():
        raise CheckpointError('Select picks what is not there')
    return source[places.ravel()].reshape(shape)


def _sparse(state: dict) -> np.ndarray:
    """Return a matrix that is kept as its columns' nonzero numbers, densely."""
    expect((dict,), state)
    shape = state.get('_shape', state.get('shape'))
    expect((tuple,), shape)
    expect((int,), *shape)
    if len(shape) != 2 or min(shape) < 0 or math.prod(shape) > _MAX_DENSE:
        raise CheckpointError('there is a sparse matrix of another size than any that '
                              'MANO holds')
    data = _read(state.get('data'), _ARRAYS)
    rows, starts = _integers(state.get('indices')), _integers(state.get('indptr'))
    counts = np.diff(starts)
    if (data.ndim != 1 or rows.shape != data.shape or starts.shape != (shape[1] + 1,)
            or starts[0] != 0 or starts[-1] != len(data) or (counts < 0).any()
            or starts.min() < 0 or starts.max() > len(data)  # counts may have wrapped
            or ((rows < 0) | (rows >= shape[0])).any()):
        raise CheckpointError('there is a sparse matrix whose parts do not fit')
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), counts)), data)
    return dense


def _integers(record: Any) -> np.ndarray:
    array = _read(record, _ARRAYS)
    if array.dtype.kind not in 'iu':
        raise CheckpointError(f'indices are of {array.dtype}')
    return array.astype(np.int64)


_ARRAYS: _Readers = {f'numpy.{core}.multiarray._reconstruct': _array
                     for core in ('core', '_core')}
_ARRAYS_AND_VARIABLES: _Readers = {**_ARRAYS, 'chumpy.ch.Ch': _variable}
_READERS: _Readers = {
    **_ARRAYS_AND_VARIABLES,
    'chumpy.reordering.Select': _selection,
    **{f'scipy.sparse.{module}.csc_matrix': _sparse for module in ('csc', '_csc')},
}
