"""MANO's file with other numbers, as several versions of Python would write it."""
import pickle
import struct
import sys
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hostile import call, tuple_of
from scipy.sparse import csc_matrix


class Instance(NamedTuple):
    """What a pickle says of an object."""

    name: str
    state: dict


def as_mano(hand):
    """Return the dict that MANO's file holds."""
    directions = np.random.default_rng(1).normal(size=(778, 3, 20))
    directions[..., :10] = hand['shape_directions']
    places = np.arange(directions.size).reshape(directions.shape)[..., :10]
    sparse = csc_matrix(hand['joint_regressor'])
    return dict(
        hands_mean=hand['mean_pose'], f=hand['faces'].astype(np.uint32),
        J_regressor=Instance('scipy.sparse.csc.csc_matrix', dict(
            _shape=(16, 778), maxprint=50, data=sparse.data, indices=sparse.indices,
            indptr=sparse.indptr)),
        weights=hand['skinning_weights'], posedirs=hand['pose_directions'],
        v_template=hand['template'],
        shapedirs=Instance('chumpy.reordering.Select', dict(
            a=Instance('chumpy.ch.Ch', dict(x=directions, _itr=None)),
            idxs=places.ravel(), preferred_shape=(778, 3, 10))),
        J=Instance('chumpy.ch.MatVecMult', dict(mtx=None, vec=None)),
        kintree_table=np.array([[2 ** 32 - 1, 0], [0, 1]], np.uint32),
        bs_style='lbs', bs_type='lrotmin')


def dump(content, protocol=2):
    """Pickle a dict by Python 3, its instances as objects of their classes."""
    with pytest.MonkeyPatch.context() as patch:
        classes = {}
        for module, name in (('chumpy.ch', 'Ch'), ('chumpy.ch', 'MatVecMult'),
                             ('chumpy.reordering', 'Select')):
            classes[f'{module}.{name}'] = type(name, (), dict(__module__=module))
            for part in ('chumpy', module):
                if part not in sys.modules:
                    patch.setitem(sys.modules, part, ModuleType(part))
            setattr(sys.modules[module], name, classes[f'{module}.{name}'])

        def made(value):
            if not isinstance(value, Instance):
                return value
            state = {key: made(part) for key, part in value.state.items()}
            if value.name.startswith('scipy'):
                return csc_matrix((state['data'], state['indices'], state['indptr']),
                                  state['_shape'])
            instance = classes[value.name]()
            vars(instance).update(state)
            return instance
        return pickle.dumps({key: made(value) for key, value in content.items()},
                            protocol)


class Python2:
    """Pickles by hand, as Python 2 does: its strings are bytes, those of arrays too."""

    def __init__(self, protocol: int):
        self.is_old = protocol == 0
        self.kinds: dict[str, int] = {}

    def dumps(self, value) -> bytes:
        return (b'' if self.is_old else b'\x80\2') + self.write(value) + b'.'

    def write(self, value) -> bytes:
        match value:
            case None:
                return b'N'
            case bool():
                return b'I0%d\n' % value if self.is_old else (b'\x89', b'\x88')[value]
            case int():
                return (b'I%d\n' % value if self.is_old
                        else b'J' + struct.pack('<i', value))
            case bytes():
                return (b'S' + repr(value)[1:].encode() + b'\n' if self.is_old
                        else b'T' + struct.pack('<i', len(value)) + value)
            case str():
                return self.write(value.encode('latin-1'))
            case Instance():
                module, _, name = value.name.rpartition('.')
                known = f'c{module}\n{name}\n'.encode()
                made = known + b')\x81' if not self.is_old else call(
                    'copy_reg._reconstructor', known, b'c__builtin__\nobject\n', b'N')
                return made + self.write(value.state) + b'b'
            case tuple():
                return tuple_of(*map(self.write, value))
            case dict():
                parts = [self.write(key) + self.write(part)
                         for key, part in value.items()]
                return (b'(d' + b''.join(part + b's' for part in parts) if self.is_old
                        else b'}(' + b''.join(parts) + b'u')
            case np.ndarray():
                empty = call('numpy.core.multiarray._reconstruct',
                             b'cnumpy\nndarray\n', self.write((0,)), self.write('b'))
                return empty + tuple_of(
                    self.write(1), self.write(value.shape), self._kind(value.dtype.str),
                    self.write(not value.flags.c_contiguous),
                    self.write(value.tobytes('A'))) + b'b'

    def _kind(self, code: str) -> bytes:
        if code in self.kinds:  # once in a file
            at = self.kinds[code]
            return b'g%d\n' % at if self.is_old else b'h%c' % at
        at = self.kinds[code] = len(self.kinds)
        made = call('numpy.dtype', *map(self.write, (code[1:], 0, 1)))
        put = b'p%d\n' % at if self.is_old else b'q%c' % at
        state = self.write((3, code[0], None, None, None, -1, -1, 0))
        return made + put + state + b'b'


def text(value):
    return b'U' + bytes([len(value)]) + value.encode()


def with_entry(raw, key, fragment):
    """Return a pickle whose dict gets one more entry, or another under its key."""
    return raw[:-1] + text(key) + fragment + b's.'
