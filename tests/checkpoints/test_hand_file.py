"""A hand is read as it was written, and what a hand file could do else is refused."""
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
from random import Random

import numpy as np
import pytest
import torch
from hand_pickles import Instance, Python2, as_mano, dump, text, with_entry
from hostile import call, entries
from hostile_hands import HOSTILE
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.hand_file import read_hand_file

SECONDS = 4  # on a slow machine; the longest takes two
MEMORY = 2 ** 25


@pytest.fixture(scope='module')
def hand():
    """Numbers by the names of the hand files, in double precision."""
    random = np.random.default_rng(0)
    regressor = random.random((16, 778)) * (random.random((16, 778)) < 0.05)
    return dict(
        template=random.normal(size=(778, 3)),
        shape_directions=random.normal(size=(778, 3, 10)),
        pose_directions=random.normal(size=(778, 3, 135)),
        joint_regressor=regressor,
        skinning_weights=random.random((778, 16)),
        mean_pose=random.normal(size=45),
        faces=random.integers(778, size=(1538, 3)))


def write(path, raw):
    path.write_bytes(raw)
    return path


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where a file goes; what a pickle would execute leaves its trace beside it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / 'MANO_RIGHT.pkl'
    assert {file.name for file in tmp_path.iterdir()} <= {'MANO_RIGHT.pkl'}
    assert 'chumpy' not in sys.modules


def assert_hand(found, hand):
    assert list(found) == list(hand)
    for name, array in found.items():
        dtype = np.int64 if name == 'faces' else np.float32
        assert array.dtype == dtype and array.flags.owndata and array.flags.writeable
        np.testing.assert_array_equal(array, hand[name].astype(dtype), name)


@pytest.mark.parametrize('protocol', [0, 1, 2])
@pytest.mark.parametrize('core, csc', [('_core', '_csc'), ('core', 'csc')])
def test_pickles_by_python_3(path, hand, protocol, core, csc):
    raw = dump(as_mano(hand), protocol)
    # Before numpy 2 and scipy 1.8; and the other way round.
    for old, new in ((b'numpy.core.', b'numpy._core.'),
                     (b'scipy.sparse.csc\n', b'scipy.sparse._csc\n')):
        raw = (raw.replace(new, old) if core == 'core' else raw.replace(old, new))
    assert f'scipy.sparse.{csc}\n'.encode() in raw
    assert f'numpy.{core}.multiarray\n'.encode() in raw
    assert_hand(read_hand_file(write(path, raw)), hand)


@pytest.mark.parametrize('protocol', [0, 2])
def test_pickles_by_python_2(path, hand, protocol):
    raw = Python2(protocol).dumps(as_mano(hand))
    assert not {'BINUNICODE', 'UNICODE'} & {
        step.name for step, _, _ in pickletools.genops(
            Python2(protocol).dumps({'bs_style': 'lbs', 'f': np.arange(3)}))}
    assert_hand(read_hand_file(write(path, raw)), hand)


def test_other_layouts_of_the_same_numbers(path, hand):
    content = as_mano(hand)
    content |= dict(
        v_template=np.asfortranarray(hand['template']),
        weights=hand['skinning_weights'].astype('>f8'),
        posedirs=Instance('chumpy.ch.Ch', dict(x=np.asfortranarray(
            hand['pose_directions']))),
        J_regressor=hand['joint_regressor'], f=hand['faces'].astype('>i2'))
    content['shapedirs'].state['a'] = content['shapedirs'].state['a'].state['x']
    assert_hand(read_hand_file(write(path, Python2(2).dumps(content))), hand)
    assert_hand(read_hand_file(write(path, dump(content))), hand)


def test_a_sparse_matrix_adds_what_is_there_twice(path, hand):
    content = as_mano(hand)
    starts = np.full(779, 3)
    starts[0] = 0
    content['J_regressor'] = Instance('scipy.sparse.csc.csc_matrix', dict(
        shape=(16, 778), data=np.array([1., 2., 4.]), indices=np.array([5, 7, 5]),
        indptr=starts))
    found = read_hand_file(write(path, Python2(2).dumps(content)))['joint_regressor']
    assert found[5, 0] == 5 and found[7, 0] == 2 and found.sum() == 7


def test_what_is_not_needed_stays_inert(path, hand):
    """A class by any name of chumpy, called and given a state; a deep nest of them."""
    extra = (call('chumpy.os.system', text('touch executed'))
             + entries(text('__class__'), text('x'), text('__setstate__'), b'N') + b'b',
             b'cchumpy.ch\nCh\n)\x81' * 100_000 + b'N' + b'b' * 100_000,
             call('chumpy.ch.Ch') + b'q\x07h\x07b')  # its own state
    raw = dump(as_mano(hand))
    for i, fragment in enumerate(extra):
        raw = with_entry(raw, f'extra{i}', fragment)
    assert_hand(read_hand_file(write(path, raw)), hand)


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16])
def test_safetensors(tmp_path, hand, dtype):
    tensors = {name: array.astype('i4' if name == 'faces' else dtype)
               for name, array in hand.items()}
    save_file(tensors | dict(extra=np.zeros(2)), tmp_path / 'hand.safetensors')
    assert_hand(read_hand_file(str(tmp_path / 'hand.safetensors')), tensors)


@pytest.fixture(scope='module')
def good(hand):
    return dump(as_mano(hand))


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_pickles(path, good, case):
    key, fragment, message = HOSTILE[case]
    write(path, with_entry(good, key, fragment))
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            read_hand_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert message in said and 'https://mano.is.tue.mpg.de' in said
    assert len(said) < 1500 and said.isprintable()
    assert time.process_time() - start < SECONDS and peak < MEMORY


@pytest.mark.parametrize('raw, message', [
    (b'\x80\2' + b'N' * 2_100_000, 'MAX_STEPS'),
    (bytes(2 ** 24 + 1), 'more than 16,777,216 bytes'),
    (b'\x80\2].', 'gives a list'),
    (b'.', 'damaged'),
    (b'', 'it is empty'),
    (b'<html><body>Please log in', 'a web page'),
    (pickle.dumps({}, 4), 'a step 94'),
], ids=range(7))
def test_no_hand_at_all(path, raw, message):
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        read_hand_file(write(path, raw))
    assert time.process_time() - start < SECONDS


def test_cut_short(path, good):
    for length in (1, 2, 10, 1000, len(good) // 2, len(good) - 1):
        with pytest.raises(CheckpointError, match='cannot be read'):
            read_hand_file(write(path, good[:length]))


def test_changed_by_chance(path, hand):
    """Bytes between the numbers are others; the hand is read, or it is refused."""
    raw = Python2(2).dumps(as_mano(hand))
    places = [at for _, argument, at in pickletools.genops(raw)]
    random, refused = Random(0), 0
    for _ in range(150):
        changed = bytearray(raw)
        changed[random.choice(places) + random.randrange(3)] = random.randrange(256)
        try:
            read_hand_file(write(path, bytes(changed)))
        except CheckpointError:
            refused += 1
    assert refused > 75


BIG = np.finfo(np.float64).max


@pytest.mark.parametrize('name, change, message', [
    ('template', lambda x: x[:777], r'\(v_template in MANO\) is of shape \(777, 3\), '
                                    r'where \(778, 3\) belongs'),
    ('shape_directions', lambda x: x[..., :9], r'where \(778, 3, 10\) belongs'),
    ('mean_pose', lambda x: x[None], r'where \(45\) belongs'),
    ('faces', lambda x: x[:, :2], r'where \(F, 3\) belongs'),
    ('faces', lambda x: np.where(x == x.max(), 778, x), 'from 0 to 778; .* 0 to 777'),
    ('faces', lambda x: x - 1, 'from -1 to 776'),
    ('faces', lambda x: x.astype(np.float32), 'of float32, where integers belong'),
    ('mean_pose', lambda x: x.astype(np.int32), 'of int32, where floating-point'),
    ('template', lambda x: np.where(x == x.max(), np.nan, x), 'holds NaN or infinity'),
    ('pose_directions', lambda x: np.where(x == x.max(), BIG, x), 'NaN or infinity'),
], ids=range(10))
def test_numbers_that_are_no_hand(tmp_path, hand, name, change, message):
    assert hand['faces'].min() == 0 and hand['faces'].max() == 777
    changed = hand | {name: np.ascontiguousarray(change(hand[name]))}
    save_file(changed, tmp_path / 'hand.safetensors')
    key = dict(template='v_template', mean_pose='hands_mean', faces='f',
               shape_directions='shapedirs', pose_directions='posedirs')[name]
    raw = Python2(2).dumps(as_mano(hand) | {key: changed[name]})
    for path in (tmp_path / 'hand.safetensors', write(tmp_path / 'hand.pkl', raw)):
        with pytest.raises(CheckpointError, match=message):
            read_hand_file(path)


def test_what_is_missing(tmp_path, hand):
    content = as_mano(hand)
    del content['posedirs']
    with pytest.raises(CheckpointError, match='it has no posedirs'):
        read_hand_file(write(tmp_path / 'hand.pkl', Python2(2).dumps(content)))
    some = {name: hand[name] for name in list(hand)[2:]}
    save_file(some, tmp_path / 'hand.safetensors')
    with pytest.raises(CheckpointError, match='it has no template, shape_directions'):
        read_hand_file(tmp_path / 'hand.safetensors')
    with pytest.raises(CheckpointError) as caught:
        read_hand_file(tmp_path / 'MANO_RIGHT.pkl')
    assert all(part in str(caught.value) for part in (
        'there is no hand file', 'https://mano.is.tue.mpg.de', 'research only',
        'not shipped', 'tools/generate_hands.py'))


def test_safetensors_that_are_none(tmp_path, hand):
    path = tmp_path / 'hand.safetensors'
    save_file(hand, path)
    whole = path.read_bytes()
    for raw in (whole[:-1], whole[:100], b'', struct.pack('<Q', 2 ** 40) + whole[8:]):
        with pytest.raises(CheckpointError, match='cannot be read as a hand file'):
            read_hand_file(write(path, raw))
    tensors = {name: torch.from_numpy(array) for name, array in hand.items()}
    tensors['template'] = tensors['template'].bfloat16()
    save_tensors(tensors, path)
    with pytest.raises(CheckpointError, match='BFloat16'):
        read_hand_file(path)


def test_a_left_hand(tmp_path, good):
    with pytest.raises(CheckpointError, match='left hand by its name.*MANO_RIGHT.pkl'):
        read_hand_file(write(tmp_path / 'MANO_LEFT.pkl', good))
