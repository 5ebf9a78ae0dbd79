"""Damaged and hostile checkpoint files, read into a small network."""
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from mmfastvit.checkpoints.whole_model import load_weights

from . import opcodes, weights
from .case import Case, Kind, nothing
from .damage import append, cut, flip, mix, no_file_of_ours, write
from .judge import output

State = dict[str, Tensor]
PICKLED = ('zip.pth', 'mmengine.pth')
FILES = (*PICKLED, 'legacy.pth', 'file.safetensors')


def small(seed: int) -> nn.Module:
    """Return a network; its weights are exact in half precision."""
    torch.manual_seed(seed)
    model = nn.ModuleDict(dict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4),
                               fc=nn.Linear(4, 4)))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randint(1, 200, tensor.shape) / 64)
    return model


def save(state: dict, path: Path, legacy: bool = False) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


def prepare(good: Path) -> None:
    from mmengine.logging.history_buffer import HistoryBuffer
    from safetensors.torch import save_file
    state = small(0).state_dict()
    save(state, good / 'zip.pth')
    save(state, good / 'legacy.pth', legacy=True)
    save_file(state, good / 'file.safetensors', metadata=dict(format='pt'))
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    save(dict(meta=dict(epoch=1, iter=6, dataset_meta=dict(classes=('a', 'b'))),
              state_dict=state, message_hub=dict(log_scalars=dict(loss=history)),
              optimizer=dict(state={0: dict(step=torch.tensor(2.))},
                             param_groups=[dict(lr=0.1)])), good / 'mmengine.pth')
    weights.prepare(good)


def loading(path: Path, accepts: Callable[[State], bool] | None = None,
            untold: bool = False) -> Case:
    """Return the case of a file that is to fill a small network."""
    expected = small(0).state_dict()
    model = small(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def run() -> State:
        load_weights(model, str(path))
        return model.state_dict()

    return Case(run, accepts or (lambda state: equal(state, expected)), [path.name],
                untold, kept=lambda: equal(model.state_dict(), before))


def equal(state: State, other: State) -> bool:
    return state.keys() == other.keys() and all(
        torch.equal(state[name], other[name]) for name in other)


def damaged(change: Callable[[Random, bytes], bytes], files: tuple[str, ...] = FILES,
            untold: tuple[str, ...] = ()) -> Callable[..., Case]:
    """Return a damage to the bytes of one of the good files."""
    def damage(random: Random, folder: Path, good: Path) -> Case:
        name = random.choice(files)
        data = change(random, (good / name).read_bytes())
        return loading(write(folder / name, data), untold=name in untold)
    damage.__name__ = f'{change.__name__}_of_a_file'
    return damage


def flipped_member(random: Random, folder: Path, good: Path) -> Case:
    """Flip bytes of one member of a zip: its data, not the zip's own headers."""
    name = random.choice(PICKLED)
    with zipfile.ZipFile(good / name) as archive:
        member = random.choice([info for info in archive.infolist() if info.file_size])
    data = (good / name).read_bytes()
    names, extra = struct.unpack('<HH', data[member.header_offset + 26:][:4])
    start = member.header_offset + 30 + names + extra
    return loading(write(folder / name, flip(random, data, start,
                                             start + member.file_size)))


def flipped_headers(random: Random, folder: Path, good: Path) -> Case:
    """Flip bytes of a zip's directory, or of safetensors' header."""
    name = random.choice(FILES[:2] + FILES[-1:])
    data = (good / name).read_bytes()
    if name.endswith('.safetensors'):
        span = 0, 8 + struct.unpack('<Q', data[:8])[0]
    else:
        span = data.index(b'PK\x01\x02'), len(data)
    return loading(write(folder / name, flip(random, data, *span)))


def flipped_numbers(random: Random, folder: Path, good: Path) -> Case:
    """Flip bytes of tensors in formats without checksums."""
    name = random.choice(('legacy.pth', 'file.safetensors'))
    data = (good / name).read_bytes()
    return loading(write(folder / name, flip(random, data, len(data) - 200)),
                   untold=True)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, records: list[tuple[str, bytes]],
              compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in records:
            archive.writestr(name, data)
    return path


def changed_members(random: Random, folder: Path, good: Path) -> Case:
    """Drop, double, swap, shorten or lengthen members of a zip."""
    records = members(good / 'zip.pth')
    tensors = [name for name in records if '/data/' in name]
    one, other = random.sample(tensors, 2)
    way = random.choice(('drop', 'double', 'swap', 'shorten', 'lengthen', 'rename'))
    if way == 'drop':
        del records[random.choice(list(records))]
    elif way == 'swap':
        records[one], records[other] = records[other], records[one]
    elif way == 'shorten':
        records[one] = records[one][:random.randrange(len(records[one]))]
    elif way == 'lengthen':
        records[one] += bytes(4 * random.randint(1, 9))
    elif way == 'rename':
        name = random.choice(list(records))
        records[random.choice(('../', 'x')) + name] = records.pop(name)
    pairs = list(records.items())
    if way == 'double':
        name = random.choice(list(records))
        pairs.insert(random.randrange(len(pairs)), (name, flip(random, records[name])))
    same_size = len(records.get(one, '')) == len(records.get(other, ''))
    # Of two members of one name, either may be meant.
    return loading(write_zip(folder / 'zip.pth', pairs),
                   nothing if way == 'double' else None,
                   untold=way == 'swap' and same_size)


def compressed(random: Random, folder: Path, good: Path) -> Case:
    """Compress the members, with or without one that swells."""
    records = list(members(good / 'zip.pth').items())
    path = write_zip(folder / 'zip.pth', records, zipfile.ZIP_DEFLATED)
    if random.random() < 0.3:
        return loading(path)
    swollen, megabytes = random.choice(records)[0], random.choice((600, 1500))
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in records:
            with archive.open(name, 'w') as member:
                member.write(data)
                for _ in range(megabytes if name == swollen else 0):
                    member.write(bytes(2**20))
    return loading(path)


def pushed_weights(path: Path) -> tuple[str, dict[str, bytes], bytes]:
    """Return the root, the members, and the opcodes that push the state dict."""
    records = members(path)
    root = next(iter(records)).partition('/')[0]
    return root, records, records[f'{root}/data.pkl'][2:-1]


def hostile_pickle(random: Random, folder: Path, good: Path) -> Case:
    return _pickled(random, folder, good, lambda pushed: opcodes.hostile(
        random, folder, pushed))


def odd_pickle(random: Random, folder: Path, good: Path) -> Case:
    return _pickled(random, folder, good, lambda pushed: opcodes.odd(random, pushed))


def _pickled(random: Random, folder: Path, good: Path, make: Callable) -> Case:
    root, records, pushed = pushed_weights(good / 'zip.pth')
    way = random.choice(('zip', 'zip', 'zip', 'bare', 'legacy', 'torchscript'))
    records[f'{root}/data.pkl'] = program = make(pushed)
    path = folder / random.choice(('zip.pth', 'zip.bin', 'zip.pth.tar', 'zip.pt'))
    if way == 'bare':
        return loading(write(path, program))
    if way == 'legacy':
        head = b''.join(pickle.dumps(part, 2) for part in (
            0x1950a86a20f9469cfc6c, 1001, dict(little_endian=True)))
        return loading(write(path, head + program + pickle.dumps([], 2)))
    if way == 'torchscript':
        records[f'{root}/constants.pkl'] = program
        records[f'{root}/code/__torch__.py'] = f'import {opcodes.CANARY}'.encode()
    return loading(write_zip(path, list(records.items())))


def safetensors_header(random: Random, folder: Path, good: Path) -> Case:
    """Change what safetensors' header says."""
    data = (good / 'file.safetensors').read_bytes()
    size, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + size])
    name = random.choice([key for key in header if key != '__metadata__'])
    way = random.randrange(7)
    if way == 0:
        header[name]['shape'] = random.choice(
            ([10**18], [-1], [2**63, 2**63], [0], [], [1.5], 'ab', None))
    elif way == 1:
        header[name]['data_offsets'] = random.choice(
            ([0, 10**15], [10, 4], [-4, 4], [0], None, [0, 16]))
    elif way == 2:
        header[name]['dtype'] = random.choice((
            'F64', 'I32', 'F16', 'X', None, 'F8_E4M3'))
    elif way == 3:
        header[name + random.choice('x.')] = header.pop(name)
    elif way == 4:
        header['__metadata__'] = random.choice(({'a': 1}, [], None, {'a': 'b' * 10**6}))
    text = json.dumps(header).encode()
    if way == 5:
        text = b'[' * 10**5
    length = random.choice((2**63, 2**40, 0, 1)) if way == 6 else len(text)
    return loading(write(folder / 'file.safetensors',
                         struct.pack('<Q', length) + text + data[8 + size:]))


def wrong_file(random: Random, folder: Path, good: Path) -> Case:
    """Give a file that is none, or under another format's suffix."""
    data = random.choice((no_file_of_ours(random),
                          (good / random.choice(FILES)).read_bytes()))
    name = random.choice(('zip.pth', 'file.safetensors', 'a.bin', 'b.pth.tar', 'ü.pth'))
    path = write(folder / name, data)
    if random.random() < 0.2:
        path.unlink()
        if random.random() < 0.5:
            path.mkdir()
    return loading(path)


def two_sets(random: Random, folder: Path, good: Path) -> Case:
    """Store raw and averaged weights: whichever is taken, it is said."""
    states = {key: small(seed).state_dict() for seed, key in enumerate(random.sample(
        ('state_dict', 'model', 'state_dict_ema', 'model_ema', 'module', 'ema'), 2))}
    nested = random.random() < 0.3  # as Lightning and others do

    def told(state: State) -> bool:
        printed = output(folder)
        return any(equal(state, other) and key in printed
                   for key, other in states.items())

    return loading(save(dict(state_dict=states) if nested else states,
                        folder / 'both.pth'), told)


KIND = Kind(prepare, (
    damaged(flip, untold=('legacy.pth', 'file.safetensors')), damaged(cut),
    damaged(mix, untold=('legacy.pth', 'file.safetensors')), damaged(append),
    flipped_member, flipped_headers, flipped_numbers, changed_members, compressed,
    hostile_pickle, odd_pickle, hostile_pickle, safetensors_header, wrong_file,
    two_sets, *weights.DAMAGES), count=440)
