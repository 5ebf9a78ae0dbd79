"""What other trainers save beside the weights: read if harmless, named if not."""
import argparse
import datetime
import pathlib
import sys
import types
from collections import Counter, OrderedDict, deque

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from torch.testing import assert_close

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.read import load_file, read_state_dict

WEIGHTS = OrderedDict(weight=torch.arange(6.).reshape(2, 3), bias=torch.ones(2))


@pytest.fixture(params=['zip', 'legacy'])
def after_save(request, tmp_path):
    def save_and_load(content):
        torch.save(content, tmp_path / 'file.pth',
                   _use_new_zipfile_serialization=request.param == 'zip')
        return load_file(tmp_path / 'file.pth')
    return save_and_load


def test_apple_s_trainer(after_save, tmp_path):
    args = argparse.Namespace(model='fastvit_t8', lr=1e-3, img_size=None,
                              mean=(0.5, 0.5), output=pathlib.Path('/out/of/it'),
                              nested=types.SimpleNamespace(a=1))
    content = dict(epoch=3, arch='fastvit_t8', state_dict=WEIGHTS, version=2, args=args,
                   optimizer=torch.optim.SGD([torch.zeros(1)], 0.1).state_dict(),
                   metric=np.float64(71.5), state_dict_ema=WEIGHTS,
                   started=datetime.datetime(2024, 5, 6, 7, tzinfo=datetime.timezone(
                       datetime.timedelta(hours=-8))))
    loaded = after_save(content)
    assert type(loaded['args']) is argparse.Namespace
    assert loaded['args'].lr == 1e-3 and loaded['args'].nested.a == 1
    # On Windows a path of Linux cannot be made otherwise.
    assert loaded['args'].output == pathlib.PurePosixPath('/out/of/it')
    assert loaded['metric'] == 71.5 and type(loaded['metric']) is np.float64
    assert loaded['started'] == content['started']
    assert loaded['optimizer'] == content['optimizer']
    assert_close(read_state_dict(tmp_path / 'file.pth'), dict(WEIGHTS))


@pytest.mark.parametrize('array', [
    np.array(['cat', 'größer', '猫']), np.array([b'ab', b'c']), np.array('scalar'),
    np.array([], 'U5'), np.array([]), np.array([['a'], ['b']]), np.array([True, False]),
    np.array([1 + 2j]), np.arange(6, dtype='>i4').reshape(2, 3), np.array('ä', '>U3'),
    np.asfortranarray(np.arange(6.).reshape(2, 3))], ids=repr)
def test_numpy_arrays(after_save, array):
    loaded = after_save(dict(dataset_meta=array))['dataset_meta']
    assert type(loaded) is np.ndarray
    assert loaded.dtype.newbyteorder('=') == array.dtype.newbyteorder('=')
    np.testing.assert_array_equal(loaded, array)
    if loaded.size:
        loaded[...] = loaded.flat[0]  # its memory is its own


@pytest.mark.parametrize('value', [
    np.str_('größer'), np.bytes_(b'ab'), np.int64(-3), np.float32(0.5), np.bool_(True)])
def test_numpy_scalars(after_save, value):
    loaded = after_save(dict(dataset_meta=dict(classes=(value,)), **{'a': {value: 1}}))
    assert loaded['dataset_meta']['classes'] == (value,)
    assert type(loaded['dataset_meta']['classes'][0]) is type(value)
    assert loaded['a'] == {value: 1}


def test_plain_data(after_save):
    content = dict(
        n=None, many=list(range(1000)), big=2 ** 70, text='größer', raw=b'\0\xff',
        palette={(0, 0, 0): 'black', (1, 2, 3): 'other'}, names={'a', 'b'},
        frozen=frozenset({1}), count=Counter(a=2), size=torch.Size([1, 2]), c=1 + 2j,
        device=torch.device('cuda', 1), dtype=torch.bfloat16,
        date=datetime.date.today(),
        random=(3, tuple(range(625)), None))
    assert after_save(content) == content


def test_configs_are_read_as_plain_dicts(after_save, monkeypatch):
    module = types.ModuleType('yacs.config')

    class CfgNode(dict):
        pass
    CfgNode.__module__, CfgNode.__qualname__ = 'yacs.config', 'CfgNode'
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    node = CfgNode(lr=0.1, sub=CfgNode(a=1))
    node.immutable = True
    loaded = after_save(dict(a=node, b=Config(dict(x=dict(y=[1])))._cfg_dict))
    assert loaded == dict(a=dict(lr=0.1, sub=dict(a=1)), b=dict(x=dict(y=[1])))
    assert type(loaded['a']['sub']) is dict and type(loaded['b']['x']) is dict


def test_what_cannot_be_read_is_named(after_save):
    with pytest.raises(CheckpointError) as caught:
        after_save(dict(state_dict=WEIGHTS, history=deque([1]), meta=Local(),
                        args=argparse.Namespace()))
    said = str(caught.value)
    assert 'collections.deque' in said and f'{__name__}.Local' in said
    assert 'argparse' not in said and 'OrderedDict' not in said
    assert 'torch.save(model.state_dict()' in said and 'weights_only' not in said


class Local:
    pass


@pytest.mark.parametrize('content', [
    torch.ones(2).to_sparse(),
    torch.quantize_per_tensor(torch.ones(2), 1., 0, torch.qint8),
    torch.ones(2, dtype=torch.complex64).conj(), torch.nn.Linear(2, 2),
    np.array([None]), np.zeros(1, [('a', 'i4')])], ids=range(6))
def test_no_refusal_advises_to_execute(after_save, content):
    with pytest.raises(CheckpointError) as caught:
        after_save(dict(state_dict=content))
    assert 'weights_only' not in str(caught.value)


@pytest.mark.skipif(not hasattr(torch, 'uint16'), reason='needs torch 2.3')
def test_types_of_newer_torch(after_save):
    content = [torch.arange(4).to(torch.uint16)[1::2],
               torch.ones(3).to(torch.float8_e5m2)]
    for loaded, saved in zip(after_save(content), content):
        assert loaded.dtype == saved.dtype
        assert_close(loaded.float(), saved.float(), rtol=0, atol=0)


def test_a_file_changes_no_class(after_save):
    """MMEngine's buffers keep statistics that a file brings for all buffers."""
    buffer = HistoryBuffer([1., 2.], [1, 1])
    before = dict(HistoryBuffer._statistics_methods)

    class Poison:
        def __reduce__(self):
            return HistoryBuffer, (), {**vars(buffer), 'statistics_methods': {
                'mean': HistoryBuffer.max, 'new': 1}}
    loaded, = after_save([Poison()])
    assert loaded.statistics('mean') == 1.5
    assert HistoryBuffer._statistics_methods == before


@pytest.mark.parametrize('map_location, device', [
    ('cpu', 'cpu'), (None, 'cpu'), ('meta', 'meta'), (torch.device('meta'), 'meta'),
    ({'cpu': 'meta'}, 'meta'), (lambda storage, location: storage, 'cpu'),
    (lambda storage, location: None, 'cpu')], ids=range(7))
@pytest.mark.parametrize('as_zip', [True, False])
def test_where_tensors_go(tmp_path, map_location, device, as_zip):
    torch.save(WEIGHTS, tmp_path / 'file.pth', _use_new_zipfile_serialization=as_zip)
    loaded = load_file(tmp_path / 'file.pth', map_location)
    assert {value.device.type for value in loaded.values()} == {device}
