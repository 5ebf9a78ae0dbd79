"""Which weights of a file are taken is said, can be chosen, and they are numbers."""
import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn
from torch.testing import assert_close

from helpers import build
from mmfastvit import CheckpointError, FastViT, load_pretrained
from mmfastvit.checkpoints.fit import describe_bad_numbers
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.checkpoints.whole_model import load_weights

RAW, AVERAGED = dict(weight=torch.zeros(2)), dict(weight=torch.ones(2))


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr('mmfastvit.checkpoints.read.print_log',
                        lambda line, **_: lines.append(line))
    return lines


@pytest.mark.parametrize('raw, averaged', [
    ('state_dict', 'state_dict_ema'), ('model', 'model_ema'), ('state_dict', 'ema'),
    ('state_dict', 'ema_state_dict'), ('model', 'teacher')])
def test_raw_and_averaged(tmp_path, logged, raw, averaged):
    path = str(tmp_path / 'file.pth')
    torch.save({averaged: AVERAGED, raw: RAW, 'epoch': 3,
                'random': dict(torch=torch.get_rng_state()),
                'optimizer': dict(state={0: dict(step=torch.tensor(1.))})}, path)
    assert_close(read_state_dict(path), RAW)
    line, = logged
    assert f'{raw} was taken' in line and f'{path}#{averaged}' in line
    assert 'random' not in line and 'optimizer' not in line
    assert_close(read_state_dict(f'{path}#{averaged}'), AVERAGED)
    assert_close(read_state_dict(f'{path}#{raw}'), RAW)
    assert len(logged) == 1  # a choice is not commented
    with pytest.raises(CheckpointError, match=f'under .other.*{averaged}, {raw}'):
        read_state_dict(f'{path}#other')


def test_one_state_dict_is_not_commented(tmp_path, logged):
    torch.save(dict(state_dict=RAW, meta=dict(epoch=1)), tmp_path / 'file.pth')
    torch.save(AVERAGED, tmp_path / 'file.pth#state_dict')
    read_state_dict(tmp_path / 'file.pth')
    # A name that is there is that file's.
    assert_close(read_state_dict(tmp_path / 'file.pth#state_dict'), AVERAGED)
    assert not logged


def test_unknown_key_is_offered(tmp_path):
    torch.save(dict(teacher=RAW), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='file.pth#teacher'):
        read_state_dict(tmp_path / 'file.pth')


def test_through_init_cfg(tmp_path):
    models = build('t8', double=False), build('t8', double=False)
    torch.save(dict(state_dict=models[0].state_dict(),
                    state_dict_ema={'module.' + k: v + 1 for k, v in
                                    models[1].state_dict().items()}),
               tmp_path / 'file.pth')
    model = FastViT('t8', init_cfg=dict(
        type='Pretrained', checkpoint=f'{tmp_path}/file.pth#state_dict_ema'))
    model.init_weights()
    name = 'stages.0.blocks.0.ffn.fc1.weight'
    assert_close(model.state_dict()[name], models[1].state_dict()[name] + 1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16,
                                   torch.float64, torch.complex64])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_numbers_that_are_none(value, dtype):
    weights = dict(good=torch.randn(3, 4).to(dtype), steps=torch.tensor(-3),
                   empty=torch.empty(0, dtype=dtype), low=torch.ones(1).to(dtype) * -1)
    assert describe_bad_numbers(weights) == ''
    weights['layer.bias'] = weights['good'].clone()
    weights['layer.bias'][1, 2] = value
    assert describe_bad_numbers(weights) == '1 not finite: layer.bias'


def test_negative_variances():
    norm = nn.BatchNorm2d(2)
    assert describe_bad_numbers(norm.state_dict()) == ''
    norm.running_mean[0] = -1
    assert describe_bad_numbers(norm.state_dict()) == ''
    norm.running_var[0] = -1e-9
    assert describe_bad_numbers(norm.state_dict()) == (
        '1 negative, and a variance: running_var')


@pytest.mark.parametrize('name, value', [
    ('stages.2.blocks.1.ffn.fc1.weight', float('nan')),
    ('stem.0.convs.0.norm.running_var', -1.)])
def test_loading_refuses_them(tmp_path, name, value):
    MMLogger.get_current_instance()
    weights = build('t8', double=False).state_dict()
    weights[name].view(-1)[0] = value
    torch.save(weights, tmp_path / 'file.pth')
    for load in (load_pretrained, load_weights):
        model = FastViT('t8')
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=f'{name}.*allow_non_finite=True'):
            load(model, tmp_path / 'file.pth')
        assert_close(model.state_dict(), before, rtol=0, atol=0)
        load(model, tmp_path / 'file.pth', allow_non_finite=True)
        assert_close(model.state_dict(), weights, rtol=0, atol=0, equal_nan=True)


def test_nested_pairs_are_told_apart(tmp_path):
    """As Lightning nests what its module keeps."""
    path = tmp_path / 'nested.pth'
    torch.save(dict(state_dict=dict(model=RAW, model_ema=AVERAGED)), path)
    assert_close(read_state_dict(path), RAW)
    assert_close(read_state_dict(f'{path}#model_ema'), AVERAGED)
