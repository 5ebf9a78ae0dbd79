"""Damaged files: no wrong number is loaded where a checksum can tell."""
import io
import random
import zipfile

import pytest
import torch
from torch.testing import assert_close

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.read import load_file

CONTENT = dict(state_dict={f'layers.{i}.weight': torch.arange(500. * i, 500. * (i + 1))
                           for i in range(4)}, meta=dict(epoch=3, lr=(0.1, 0.2)))


@pytest.fixture(scope='module')
def whole():
    file = io.BytesIO()
    torch.save(CONTENT, file)
    return file.getvalue()


def outcome(path, content):
    path.write_bytes(content)
    try:
        loaded = load_file(path)
    except CheckpointError as error:
        assert 'weights_only' not in str(error)
        return 'refused'
    try:
        assert_close(loaded, CONTENT, rtol=0, atol=0)
    except (AssertionError, TypeError):  # also of strings, which it does not know
        return 'other numbers'
    return 'equal'


def test_flipped_bits_in_tensors(tmp_path, whole):
    generator = random.Random(0)
    found = []
    for _ in range(25):
        damaged = bytearray(whole)
        at = whole.index(torch.arange(500., 600.).numpy().tobytes())
        damaged[at + generator.randrange(400)] ^= 1 << generator.randrange(8)
        found.append(outcome(tmp_path / 'file.pth', damaged))
    assert set(found) == {'refused'}


def test_flipped_bits_anywhere(tmp_path, whole):
    generator = random.Random(0)
    found = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        found.append(outcome(tmp_path / 'file.pth', damaged))
    assert 'other numbers' not in found and found.count('refused') > 200


def test_cut_short_or_longer(tmp_path, whole):
    for length in range(1, len(whole), 97):
        assert outcome(tmp_path / 'file.pth', whole[:length]) == 'refused'
        assert outcome(tmp_path / 'file.pth', whole[length:]) == 'refused'
    assert outcome(tmp_path / 'file.pth', whole + b'\0') == 'refused'


@pytest.mark.parametrize('as_zip', [True, False])
def test_changed_pickles(tmp_path, whole, as_zip):
    """Checksums and all: whatever comes out, nothing else than a refusal."""
    generator = random.Random(0)
    if as_zip:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        name = next(name for name in records if name.endswith('data.pkl'))
        pickled = records[name]
    else:
        file = io.BytesIO()
        torch.save(CONTENT, file, _use_new_zipfile_serialization=False)
        pickled = file.getvalue()
    found = []
    for _ in range(600):
        changed = bytearray(pickled)
        for _ in range(generator.choice((1, 1, 4, 16))):
            at = generator.randrange(min(len(changed), 1000))
            edit = generator.randrange(3)
            if edit == 0:
                changed[at] = generator.choice(b'()]}.abeqhtuRQXKNs\x81\x85\x86\xff\0')
            elif edit == 1:
                del changed[at:at + generator.randrange(9)]
            else:
                other = generator.randrange(len(changed))
                changed[at:at] = changed[other:other + generator.randrange(30)]
        if as_zip:
            file = io.BytesIO()
            with zipfile.ZipFile(file, 'w') as archive:
                for record, data in {**records, name: bytes(changed)}.items():
                    archive.writestr(record, data)
            changed = file.getvalue()
        found.append(outcome(tmp_path / 'file.pth', changed))
    assert found.count('refused') > 100


def test_saved_without_checksums(tmp_path, whole):
    if not hasattr(torch.serialization, 'set_crc32_options'):
        pytest.skip('needs torch 2.6')
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / 'file.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert_close(load_file(tmp_path / 'file.pth'), CONTENT, rtol=0, atol=0)
