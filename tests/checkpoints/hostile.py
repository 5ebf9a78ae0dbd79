"""Checkpoint files that ask for much: time, memory, or what others put in memory.

Each is written by hand, a step of the pickle at a time; ``torch.save`` would not.
"""
import json
import pickle
import struct
import zipfile
from pathlib import Path

# Two of the last at each level: 2 ** 60 entries, for whoever walks without noticing.
NEST = b')q\0' + b'h\0\x86q\0' * 60
LISTS = b']q\x00' + b''.join(  # 30 lists, each of which holds the one before twice
    b']q' + bytes([i + 1]) + b'(h' + bytes([i]) + b'h' + bytes([i]) + b'e'
    for i in range(30))
STORAGE = b'(X\x07\0\0\0storagectorch\nFloatStorage\n%sX\x03\0\0\0cpuK\x04tQ'
ZERO = STORAGE % b'X\1\0\0\x000'
TENSOR = b'ctorch._utils\n_rebuild_tensor_v2\n(%s%s%s%s\x89}tR'
KIND = b"cnumpy\ndtype\n(X\2\0\0\0f4\x89\x88tR"
TEXT = b'X' + struct.pack('<L', 2 ** 20) + b'a' * 2 ** 20


def integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def call(name: str, *arguments: bytes) -> bytes:
    module, _, name = name.rpartition('.')
    return f'c{module}\n{name}\n'.encode() + b'(' + b''.join(arguments) + b'tR'


def items(*values: bytes) -> bytes:
    return b'](' + b''.join(values) + b'e'


def entries(*values: bytes) -> bytes:
    return b'}(' + b''.join(values) + b'u'


def tuple_of(*values: bytes) -> bytes:
    return b'(' + b''.join(values) + b't'


def equal_hashes(count: int) -> list[bytes]:
    """Return integers that have one hash."""
    return [integer(i * (2 ** 61 - 1)) for i in range(1, count + 1)]


# A pickle, and what the refusal says.
PICKLES = {
    'nest_as_key': (b'}' + NEST + b'Ns', 'tuple for a key'),
    'nest_in_set': (call('builtins.set', items(NEST)), 'tuple for a key'),
    'nest_in_frozenset': (call('builtins.frozenset', items(NEST)), 'tuple for a key'),
    'nest_in_ordered_dict': (call('collections.OrderedDict', items(items(NEST, b'N'))),
                             'tuple for a key'),
    'nest_in_counter': (call('collections.Counter', NEST), 'gives a tuple'),
    'nest_as_value': (entries(b'K\1', NEST), 'MAX_ENTRIES'),
    'nest_as_size': (TENSOR % (ZERO, b'K\0', NEST, NEST), 'gives a tuple'),
    'nest_as_offset': (TENSOR % (ZERO, NEST, b')', b')'), 'gives a tuple'),
    'nest_as_storage': (TENSOR % (NEST, b'K\0', b')', b')'), 'gives a tuple'),
    'nest_as_metadata': (call('torch._utils._rebuild_tensor_v2', ZERO, b'K\0))\x89}',
                              NEST), 'conjugate'),
    'nest_as_key_of_storage': (STORAGE % NEST, 'gives a tuple'),
    'nest_as_storage_tuple': (NEST + b'Q', 'values to unpack'),
    'nest_as_torch_size': (call('torch.Size', NEST), 'gives a tuple'),
    'nest_as_device': (call('torch.device', NEST), 'gives a tuple'),
    'nest_as_parameter': (call('torch._utils._rebuild_parameter', NEST, b'\x89}'),
                          'gives a tuple'),
    'nest_as_dtype': (call('numpy.dtype', NEST), 'gives a tuple'),
    'nest_as_byte_order': (KIND + tuple_of(b'K\3', NEST) + b'b', 'gives a tuple'),
    'nest_as_shape': (call('numpy.core.multiarray._reconstruct') + tuple_of(
        b'K\1', NEST, KIND, b'\x89', call('_codecs.encode', b'X\0\0\0\0', b'X\0\0\0\0')
    ) + b'b', 'gives a tuple'),
    'nest_as_attribute': (call(
        'builtins.getattr', b'cmmengine.logging.history_buffer\nHistoryBuffer\n', NEST),
        'gives a tuple'),
    'nest_as_text': (call('_codecs.encode', NEST, NEST), 'gives a tuple'),
    'nest_as_path': (call('pathlib.PosixPath', NEST), 'gives a tuple'),
    'nest_as_date': (call('datetime.datetime', NEST), 'gives a tuple'),
    'nest_as_namespace': (call('argparse.Namespace', NEST), 'gives a tuple'),
    'nest_called': (NEST + b')R', 'calls what it must not'),
    'nest_as_state': (call('argparse.Namespace') + NEST + b'b', 'gives a tuple'),
    'lists_in_history': (call('mmengine.logging.history_buffer.HistoryBuffer',
                              LISTS, LISTS), 'damaged'),
    'lists_in_lists': (LISTS, 'MAX_ENTRIES'),
    'deep_lists': (b']' * 100_000 + b'a' * 99_999, 'MAX_DEPTH'),
    'dict_in_itself': (b'}q\0X\n\0\0\0state_dicth\0s', 'holds itself'),
    'list_in_itself': (b']q\0h\0a', 'holds itself'),
    'namespace_in_itself': (call('argparse.Namespace') + b'q\0}X\1\0\0\0ah\0sb',
                            'holds itself'),
    'metadata_in_itself': (call('collections.OrderedDict')
                           + b'q\0}X\t\0\0\0_metadatah\0sb', 'holds itself'),
    'copies_of_text': (TEXT + b'q\0' + items(
        *[call('_codecs.encode', b'h\0', b'X\0\0\0\0')] * 5000), 'MAX_COPIES'),
    'copies_of_arrays': (call('_codecs.encode', TEXT, b'X\0\0\0\0') + b'q\0' + items(*[
        call('numpy.core.multiarray._reconstruct') + tuple_of(
            b'K\1', integer(2 ** 18) + b'\x85', KIND, b'\x89', b'h\0') + b'b'] * 5000),
        'MAX_COPIES'),
    'copies_of_sets': (items(*map(integer, range(100_000))) + b'q\0' + items(
        *[call('builtins.set', b'h\0')] * 1000), 'MAX_COPIES'),
    'equal_hashes': (entries(*[key + b'N' for key in equal_hashes(50_000)]),
                     'int for a key'),
    'tuples_with_equal_hashes': (call('builtins.set', items(*[
        tuple_of(key) for key in equal_hashes(50_000)])), 'MAX_TUPLE_KEYS'),
    'steps': (b'N' * 2_100_000, 'MAX_STEPS'),
    'dicts': (b'}' * 2_100_000, 'MAX_STEPS'),
    'marks': (b'(' * 2_100_000, 'MAX_DEPTH'),
    'expanded': (TENSOR % (ZERO, b'K\0', tuple_of(integer(2 ** 40)), tuple_of(b'K\0')),
                 'MAX_VIEWS'),
    'expanded_beyond_counting': (TENSOR % (ZERO, b'K\0', tuple_of(
        *[integer(2 ** 32)] * 2), tuple_of(b'K\0K\0')), 'size is none'),
    'many_dimensions': (TENSOR % (ZERO, b'K\0', tuple_of(*[b'K\1'] * 99),
                                  tuple_of(*[b'K\0'] * 99)), 'MAX_DIMENSIONS'),
    'many_views': (ZERO + b'q\0' + items(*[TENSOR % (
        b'h\0', b'K\0', tuple_of(integer(2 ** 21)), tuple_of(b'K\0'))] * 100),
        'MAX_VIEWS'),
    'negative_size': (TENSOR % (ZERO, b'K\0', tuple_of(integer(-1)), tuple_of(b'K\1')),
                      'size is none'),
    'beyond_its_storage': (TENSOR % (ZERO, b'K\3', b'K\4\x85', b'K\1\x85'), 'storage'),
    'storage_of_another_size': (STORAGE.replace(b'K\4t', integer(2 ** 40) + b't')
                                % b'X\1\0\0\x000', 'is said to have'),
    'missing_storage': (STORAGE % b'X\1\0\0\x007', 'is missing'),
    'long_integer': (b'\x8b' + struct.pack('<l', 2 ** 20) + b'\1' * 2 ** 20, 'step 8b'),
    'announced_text': (b'X\xff\xff\xff\xff', 'cut short'),
    'frame_of_protocol_4': (b'\x95' + b'\xff' * 7 + b'\x7f', 'step 95'),
    'extension': (b'\x82\x01', 'step 82'),
    'array_without_bytes': (call('numpy.core.multiarray._reconstruct') + tuple_of(
        b'K\1', integer(2 ** 40) + b'\x85', KIND, b'\x89',
        call('_codecs.encode', b'X\0\0\0\0', b'X\0\0\0\0')) + b'b', 'not that of its'),
}


def write_zip(path: Path, pickled: bytes, **kwargs) -> None:
    with zipfile.ZipFile(path, 'w', **kwargs) as archive:
        archive.writestr('archive/data.pkl', b'\x80\2' + pickled + b'.')
        archive.writestr('archive/data/0', bytes(16))
        archive.writestr('archive/version', b'3\n')  # torch.load asks for it


def write_legacy(path: Path, pickled: bytes, keys: list = (), data: bytes = b''):
    start = [0x1950a86a20f9469cfc6c, 1001, dict(little_endian=True)]
    path.write_bytes(b''.join(pickle.dumps(part, 2) for part in start)
                     + b'\x80\2' + pickled + b'.' + pickle.dumps(list(keys), 2) + data)


def write_safetensors(path: Path, header: bytes, length: int | None = None) -> None:
    length = len(header) if length is None else length
    path.write_bytes(struct.pack('<Q', length) + header + bytes(16))


def numbers(start: int, end: int, size: int = 4) -> dict:
    return dict(dtype='F32', shape=[size], data_offsets=[start, end])


def write_all(folder: Path) -> dict[str, str]:
    """Write the files, and return what the refusal of each says."""
    refusals = {}
    for name, (pickled, message) in PICKLES.items():
        write_zip(folder / f'{name}.pth', pickled)
        refusals[f'{name}.pth'] = message
        # Storages have another form there, and what is long takes as long.
        if b'storage' not in pickled and len(pickled) < 2 ** 20:
            write_legacy(folder / f'{name}.legacy.pth', pickled)
            refusals[f'{name}.legacy.pth'] = message

    def add(name: str, message: str) -> Path:
        refusals[name] = message
        return folder / name

    with zipfile.ZipFile(add('compressed.pth', 'compressed'), 'w',
                         zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr('archive/data.pkl', b'\x80\2N.')
        archive.writestr('archive/data/0', bytes(2 ** 27))
    path = add('members_that_share_bytes.pth', 'larger than the file')
    write_zip(path, b'N' + b'0' * 10_000)
    with zipfile.ZipFile(path, 'a') as archive:
        first = archive.infolist()[0]
        for i in range(100):
            again = zipfile.ZipInfo(f'archive/data/{i + 1}')
            for field in ('header_offset', 'file_size', 'compress_size', 'CRC'):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
        archive._didModify = True
    path = add('one_name_twice.pth', 'one name')
    write_zip(path, b'N')
    whole = path.read_bytes()
    with zipfile.ZipFile(path, 'a') as archive:
        archive.filelist.append(archive.infolist()[0])
        archive._didModify = True
    write_zip(add('trailing.pth', 'follows its end'), b'N')
    (folder / 'trailing.pth').write_bytes(whole + b'PK')
    end = whole.rindex(b'PK\5\6')
    add('long_index.pth', 'MAX_INDEX_BYTES').write_bytes(
        whole[:end + 12] + struct.pack('<L', 2 ** 30) + whole[end + 16:])
    write_zip(add('flipped.pth', 'damaged'), ZERO)
    flipped = (folder / 'flipped.pth').read_bytes()
    assert flipped.count(bytes(16)) == 1
    (folder / 'flipped.pth').write_bytes(flipped.replace(bytes(16), bytes(15) + b'\1'))
    write_legacy(add('huge_storage.legacy.pth', 'not those of its tensors'),
                 STORAGE.replace(b'K\4t', integer(2 ** 40) + b'Nt') % b'X\1\0\0\x000',
                 ['0'], struct.pack('<Q', 2 ** 40))
    legacy = STORAGE.replace(b'K\4t', b'K\4Nt') % b'X\1\0\0\x000'
    write_legacy(add('no_storage.legacy.pth', 'not those of its tensors'), legacy)
    write_legacy(add('short_storage.legacy.pth', 'cut short'), legacy, ['0'],
                 struct.pack('<Q', 4) + bytes(15))
    write_legacy(add('twice.legacy.pth', 'not those of its tensors'), legacy,
                 ['0', '0'], (struct.pack('<Q', 4) + bytes(16)) * 2)
    write_safetensors(add('long.safetensors', 'MAX_INDEX_BYTES'), b'{}', 2 ** 40)
    write_safetensors(add('short.safetensors', 'cannot be read'), b'{}', 2 ** 20)
    write_safetensors(add('deep.safetensors', 'cannot be read'), b'[' * 2 ** 20)
    for name, tensors in dict(
            overlap=dict(a=numbers(0, 16), b=numbers(0, 16)),
            gap=dict(a=numbers(8, 16, 2)), beyond=dict(a=numbers(0, 64, 16)),
            backwards=dict(a=numbers(16, 0)), size=dict(a=numbers(0, 16, 2 ** 40)),
            negative=dict(a=numbers(-16, 0))).items():
        write_safetensors(add(f'{name}.safetensors', 'cannot be read'),
                          json.dumps(tensors).encode())
    return refusals
