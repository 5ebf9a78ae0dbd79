"""What MMEngine saves is read; what could do anything else is refused."""
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch.testing import assert_close

from mmfastvit import CheckpointError
from mmfastvit.checkpoints import read


@pytest.fixture(params=['zip', 'legacy'])
def load_after_save(request):
    """Both formats that torch.save knows."""
    def load(content, path):
        torch.save(content, path / 'file.pth',
                   _use_new_zipfile_serialization=request.param == 'zip')
        return read.load_file(path / 'file.pth')
    return load


def test_tensors(tmp_path, load_after_save):
    base = torch.arange(24.).reshape(2, 3, 4)
    tensors = {
        'view': base[1, :, 1::2], 'transposed': base.mT, 'same': base,
        'parameter': torch.nn.Parameter(base[0]), 'scalar': torch.tensor(7),
        'empty': torch.empty(0, 3), **{str(dtype): base.to(dtype) for dtype in (
            torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32,
            torch.int64, torch.float16, torch.bfloat16, torch.float64,
            torch.complex64)}}
    loaded = load_after_save(tensors, tmp_path)
    assert_close(loaded, tensors, rtol=0, atol=0)
    assert loaded['parameter'].requires_grad
    loaded['same'].zero_()
    assert (loaded['view'] == 0).all()  # one storage, as it was saved


def test_what_the_runner_saves(tmp_path, load_after_save):
    hub = MessageHub.get_instance('test_unpickle')
    for loss in (0.5, 0.25):
        hub.update_scalar('train/loss', loss)
    hub.update_info('mean', np.float64(3.))
    content = load_after_save(
        dict(meta=dict(epoch=1, classes=('a', 'b')), message_hub=hub.state_dict(),
             optimizer=dict(state={0: dict(step=torch.tensor(2.))},
                            param_groups=[dict(lr=0.1, betas=(0.9, 0.99))]),
             state_dict=torch.nn.Linear(2, 3).state_dict()), tmp_path)
    history = content['message_hub']['log_scalars']['train/loss']
    assert history.current() == 0.25 and history.mean() == 0.375
    history.update(1.)
    assert history.max() == 1.
    assert content['message_hub']['runtime_info']['mean'] == 3.
    assert isinstance(content['state_dict'], OrderedDict)
    assert content['optimizer']['param_groups'][0]['betas'] == (0.9, 0.99)
    # What was loaded is saved again at the next epoch.
    again = load_after_save(content, tmp_path)
    assert again['message_hub']['log_scalars']['train/loss'].current() == 1.


class Call:
    """Pickles as a call, followed by what changes its result."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return tuple(iter(part) if isinstance(part, list) else part
                     for part in self.reduced)

    __call__ = None  # so that pickle takes it for something to call


def test_arrays_cannot_name_memory(tmp_path, load_after_save):
    pointers = Call(np.ndarray, ((1,), 'O', b'A' * 8))
    assert load_after_save(pointers, tmp_path).size == 0
    with pytest.raises(CheckpointError, match='array of'):
        load_after_save(np.array([{}]), tmp_path)
    numbers = np.arange(6, dtype='i4').reshape(2, 3)
    stored = load_after_save(numbers, tmp_path)
    assert stored.dtype == 'i4' and (stored == numbers).all()


MEAN = Call(getattr, (HistoryBuffer, 'mean'))
EMPTY = np.core.multiarray._reconstruct, (np.ndarray, (0,), b'b')


@pytest.mark.parametrize('content', [
    Call(exec, ('raise SystemExit("executed")',)),
    dict(state_dict=Call(eval, ('print("executed")',))),
    Call(getattr, (HistoryBuffer, '__init__')),
    Call(getattr, (set, 'add')),
    Call(MEAN, (HistoryBuffer([1.], [1]),)),
    Call(getattr, (HistoryBuffer, 'mean'), (None, {'__defaults__': (1,)})),
    Call(HistoryBuffer, (), None, [1]),
    Call(HistoryBuffer, (), None, None, [(1, 1)]),
    Call(*EMPTY, (1, (8,), np.dtype('u1'), False, np.zeros(8, 'u1'))),
    Call(*EMPTY, (1, (1,), Call(np.dtype, ('f8',), (3, 'O,')), False, b'A' * 16)),
    Call(OrderedDict, (), None, [1]),
], ids=range(11))
def test_refused(tmp_path, load_after_save, content):
    before = HistoryBuffer.mean.__defaults__
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_after_save(content, tmp_path)
    assert HistoryBuffer.mean.__defaults__ == before


@pytest.mark.parametrize('code', [
    pickle.MARK + b'cbuiltins\nset\n' + pickle.OBJ,
    pickle.MARK + b'ibuiltins\nset\n',
    b'cbuiltins\nset\n)}' + pickle.NEWOBJ_EX,
    b'cbuiltins\nset\n)R' + pickle.MARK + b'K\x01' + pickle.ADDITEMS,
    b'cmmengine.logging.history_buffer\nHistoryBuffer\nN}U\x04meanNs\x86b',
])
def test_refused_opcodes(tmp_path, code):
    write(tmp_path / 'file.pth', {'data.pkl': b'\x80\x02' + code + b'.'})
    with pytest.raises(CheckpointError, match='cannot be read'):
        read.load_file(tmp_path / 'file.pth')


def write(path, records):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in {'version': b'3\n', **records}.items():
            archive.writestr(f'archive/{name}', data)


def test_views_end_with_their_storage(tmp_path):
    torch.save(torch.arange(4.), tmp_path / 'good.pth')
    with zipfile.ZipFile(tmp_path / 'good.pth') as archive:
        records = {name.partition('/')[2]: archive.read(name)
                   for name in archive.namelist()}
    four = pickle.BININT1 + b'\x04'
    assert records['data.pkl'].count(four) == 2  # in the storage, in the shape
    records['data.pkl'] = records['data.pkl'].replace(
        four, pickle.BININT2 + b'\xff\x7f')
    write(tmp_path / 'bad.pth', records)
    with pytest.raises(CheckpointError, match='storage|record'):
        read.load_file(tmp_path / 'bad.pth')


def test_torchscript_is_refused(tmp_path):
    module = torch.jit.script(torch.nn.Linear(2, 3))
    torch.jit.save(module, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='cannot be read'):
        read.load_file(tmp_path / 'file.pth')
