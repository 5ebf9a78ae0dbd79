"""Entries of a hand's pickle that ask for much, or for what is no number."""
import numpy as np
from hand_pickles import Instance, Python2, text
from hostile import LISTS, NEST, call, entries, equal_hashes, integer, tuple_of

KIND = call('numpy.dtype', text('f8'), b'K\0K\1') + tuple_of(
    b'K\3', text('<'), b'NNN') + b'b'


def array(shape=b'K\1\x85', kind=KIND, raw=b'U\x08' + bytes(8)):
    return call('numpy.core.multiarray._reconstruct', b'cnumpy\nndarray\n',
                b'K\0\x85', text('b')) + tuple_of(b'K\1', shape, kind, b'\x89', raw
                                                  ) + b'b'


def ones(count, value=1):
    return tuple_of(*[integer(value)] * count)


def sparse(**changes):
    state = dict(_shape=(16, 778), data=np.ones(2), indices=np.array([0, 15]),
                 indptr=np.minimum(np.arange(779), 2)) | changes
    return Python2(2).write(Instance('scipy.sparse.csc.csc_matrix', state))


def select(**changes):
    state = dict(a=np.ones(4), idxs=np.arange(4), preferred_shape=(2, 2)) | changes
    return Python2(2).write(Instance('chumpy.reordering.Select', state))


def kind_of(name, order='<'):
    return call('numpy.dtype', text(name), b'K\0K\1') + tuple_of(
        b'K\3', text(order), b'NNN') + b'b'


SHELL, ALIEN = text('touch executed'), 'which no MANO file holds'
WRAPPED = np.full(779, 2)
WRAPPED[:4] = 0, 2 ** 63 - 1, -2 ** 63, -1  # differences: 2 ** 63 - 1, 1, 2 ** 63 - 1
# What is added to a good file, under which key, and what the refusal says.
HOSTILE = {
    'system': ('extra', call('os.system', SHELL), f"'os.system', {ALIEN}"),
    'posix': ('extra', call('posix.system', SHELL), f"'posix.system', {ALIEN}"),
    'eval': ('extra', call('builtins.eval', text('open("executed", "w")')),
             f"'builtins.eval', {ALIEN}"),
    'old_eval': ('extra', call('__builtin__.eval', text('open("executed", "w")')),
                 f"'__builtin__.eval', {ALIEN}"),
    'getattr': ('extra', b'c__builtin__\ngetattr\n', ALIEN),
    'attribute': ('extra', b'cnumpy\nndarray.tofile\n', ALIEN),
    'foreign_class': ('extra', b'ccollections\nOrderedDict\n)R',
                      f"'collections.OrderedDict', {ALIEN}"),
    'foreign_sparse': ('extra', b'cscipy.sparse.csr\ncsr_matrix\n)\x81', ALIEN),
    'almost_chumpy': ('extra', b'cchumpyos\nsystem\n', ALIEN),
    'terminal': ('extra', b'c\x1b[2J\n' + b'x' * 5000 + b'\n', ALIEN),
    'instance': ('extra', b'(' + SHELL + b'ios\nsystem\n', 'a step 69'),
    'object': ('extra', b'(cchumpy.ch\nCh\no', 'a step 6f'),
    'stack_global': ('extra', b'\x8c\2os\x8c\6system\x93', 'a step 8c'),
    'extension': ('extra', b'\x82\1', 'a step 82'),
    'persistent': ('extra', b'NQ', 'gives a NoneType'),
    'object_array': ('extra', array(kind=kind_of('O8', '|'), raw=b']'), "of 'O8'"),
    'string_array': ('extra', array(kind=kind_of('S8', '|')), "of 'S8'"),
    'record_array': ('weights', array(kind=kind_of('f8', 'O,')), "of 'O,f8'"),
    'pointers': ('weights', array(kind=kind_of('f8').replace(b'<', b'O')), "of 'Of8'"),
    'other_kind': ('weights', array(kind=call('chumpy.ch.Ch', text('O8')) + tuple_of(
        b'K\3', text('|')) + b'b'), "of '|O8'"),
    'kind_without_order': ('weights', array(kind=call('numpy.dtype', text('f8'))),
                           'gives a NoneType'),
    'claims_much': ('weights', array(integer(2 ** 40) + b'\x85'), 'not that of'),
    'claims_beyond_counting': ('weights', array(ones(60, 2 ** 40)), 'not that of'),
    'claims_less_than_none': ('weights', array(b'(' + integer(-1) * 2 + b't'),
                              'not that of'),
    'many_dimensions': ('weights', array(ones(65)), 'not that of'),
    'shape_of_other': ('weights', array(text('aa')), 'gives'),
    'bytes_that_change': ('weights', array(raw=b'c__builtin__\nset\n)R'),
                          'gives a Record'),
    'beyond_latin_1': ('weights', array(raw=b'X\3\0\0\0\xe2\x82\xac'), 'not that of'),
    'no_array': ('weights', b'K\1', "under weights, there is a int where an array"),
    'class_of_array': ('weights', b'cnumpy.core.multiarray\n_reconstruct\n',
                       'gives a NoneType'),
    'computed': ('weights', call('chumpy.ch.MatVecMult') + b'}b',
                 "'chumpy.ch.MatVecMult' where"),
    'computed_inside': ('weights', call('chumpy.ch.Ch') + entries(
        text('x'), call('chumpy.ch.Ch')) + b'b', "'chumpy.ch.Ch' where"),
    'itself': ('weights', call('chumpy.ch.Ch') + b'q\x07' + entries(
        text('x'), b'h\x07') + b'b', "'chumpy.ch.Ch' where"),
    'select_itself': ('weights', call('chumpy.reordering.Select') + b'q\x07' + entries(
        text('a'), b'h\x07') + b'b', "'chumpy.reordering.Select' where"),
    'select_nothing': ('weights', call('chumpy.reordering.Select') + b'}b', 'there is'),
    'select_after_the_end': ('weights', select(idxs=np.arange(1, 5)), 'not there'),
    'select_before_the_start': ('weights', select(idxs=np.arange(-1, 3)), 'not there'),
    'select_by_numbers': ('weights', select(idxs=np.ones(4)), 'are of float64'),
    'select_much': ('weights', select(preferred_shape=(2 ** 30, 2 ** 30)), 'damaged'),
    'huge_sparse': ('J_regressor', sparse(_shape=(2 ** 30, 778)), 'another size'),
    'huge_sparse_of_none': ('J_regressor', sparse(_shape=(0, 2 ** 30)), 'do not fit'),
    'negative_sparse': ('J_regressor', sparse(_shape=(-16, -778)), 'another size'),
    'flat_sparse': ('J_regressor', sparse(_shape=(16,)), 'another size'),
    'sparse_row': ('J_regressor', sparse(indices=np.array([0, 16])), 'do not fit'),
    'sparse_start': ('J_regressor', sparse(indptr=np.full(779, 2)), 'do not fit'),
    'sparse_end': ('J_regressor', sparse(indptr=np.arange(779)), 'do not fit'),
    'sparse_backwards': ('J_regressor', sparse(indptr=np.array(
        [0, 2, 1] + [2] * 776)), 'do not fit'),
    'sparse_wrapped': ('J_regressor', sparse(indptr=WRAPPED), 'do not fit'),
    'sparse_columns': ('J_regressor', sparse(indptr=np.array([0, 2])), 'do not fit'),
    'sparse_lengths': ('J_regressor', sparse(indices=np.zeros(3, int)), 'do not fit'),
    'no_state': ('J_regressor', call('scipy.sparse.csc.csc_matrix'),
                 'gives a NoneType'),
    'called_twice': ('extra', call('chumpy.ch.Ch') + b')R', 'calls what it must not'),
    'text_called': ('extra', text('os.system') + b')R', 'gives'),
    'state_of_class': ('extra', b'cchumpy.ch\nCh\n}b', 'changes what it must not'),
    'state_twice': ('extra', call('chumpy.ch.Ch') + b'}b}b', 'changes what it must'),
    'state_of_dict': ('extra', b'}}b', 'gives a dict'),
    'appended_to_object': ('extra', call('chumpy.ch.Ch') + b'Na', 'must not'),
    'entry_of_object': ('extra', call('chumpy.ch.Ch') + b'NNs', 'must not'),
    'deep_lists': ('extra', b']' * 100_000 + b'a' * 99_999, 'MAX_DEPTH'),
    'marks': ('extra', b'(' * 1000, 'MAX_DEPTH'),
    'lists_in_lists': ('extra', tuple_of(LISTS), 'MAX_ENTRIES'),
    'list_in_itself': ('extra', b']q\x07h\x07a', 'holds itself'),
    'nest_as_key': ('extra', b'}' + NEST + b'Ns', 'tuple for a key'),
    'nest_as_key_in_protocol_0': ('extra', b'(' + NEST + b'Nd', 'tuple for a key'),
    'nest_as_kind': ('extra', call('numpy.dtype', NEST), 'gives a tuple'),
    'nest_as_shape': ('weights', array(NEST), 'gives a tuple'),
    'nest_as_class': ('extra', call('copy_reg._reconstructor', NEST), 'gives a tuple'),
    'record_as_key': ('extra', b'}' + call('chumpy.ch.Ch') + b'Ns', 'for a key'),
    'equal_hashes': ('extra', entries(*[key + b'N' for key in equal_hashes(50_000)]),
                     'int for a key'),
    'equal_hashes_of_the_memo': ('extra', b'N' + b''.join(
        b'p%d\n' % (i * (2 ** 61 - 1)) for i in range(1, 50_000)), 'cannot be read'),
    'endless_digits': ('extra', b'L' + b'9' * 2 ** 20 + b'L\n', 'cannot be read'),
    'endless_hexadecimals': ('extra', b'I0x' + b'f' * 2 ** 20 + b'\n',
                             'cannot be read'),
    'announced_text': ('extra', b'T\xff\xff\xff\x7fa', 'cut short'),
}
