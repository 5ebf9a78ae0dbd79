"""Whole models are filled, or stay as they were."""
import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmfastvit import CheckpointError
from mmfastvit.checkpoints.whole_model import load_weights


def build(num_classes=3, width=4, mask_head=False):
    heads = dict(bbox_head=nn.ModuleDict(dict(conv=nn.Linear(width, width),
                                              cls=nn.Linear(width, num_classes))))
    if mask_head:
        heads['mask_head'] = nn.Linear(width, 1)
    return nn.ModuleDict(dict(
        backbone=nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width)),
        neck=nn.Linear(width, width), roi_head=nn.ModuleDict(heads)))


def save(path, state):
    torch.save(dict(state_dict=state), path)
    return str(path)


@pytest.mark.parametrize('prefix', [
    'module.', '_orig_mod.', 'model.', 'module._orig_mod.', '_orig_mod.module.',
    'model._orig_mod.'])
def test_prefixes_that_all_names_carry(tmp_path, prefix):
    source, model = build(), build()
    path = save(tmp_path / 'a.pth', {prefix + k: v
                                     for k, v in source.state_dict().items()})
    load_weights(model, path)
    assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
    outer, target = nn.ModuleDict(dict(model=source)), nn.ModuleDict(dict(model=model))
    load_weights(target, save(tmp_path / 'b.pth', outer.state_dict()))


def test_other_num_classes_start_fresh(tmp_path, caplog):
    source, model = build(num_classes=80), build()
    fresh = copy.deepcopy(model.state_dict())
    path = save(tmp_path / 'a.pth', source.state_dict())
    with pytest.raises(CheckpointError, match='2 of another shape'):
        load_weights(model, path)
    load_weights(model, path, other_heads=True)
    for name, tensor in model.state_dict().items():
        expected = fresh if '.cls.' in name else source.state_dict()
        assert_close(tensor, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize('in_file, in_model', [(True, False), (False, True)])
def test_whole_heads_may_be_missing_or_left_over(tmp_path, in_file, in_model):
    source, model = build(mask_head=in_file), build(mask_head=in_model)
    load_weights(model, save(tmp_path / 'a.pth', source.state_dict()),
                 other_heads=True)
    for part in ('backbone', 'neck'):
        assert_close(model[part].state_dict(), source[part].state_dict(), rtol=0,
                     atol=0)


@pytest.mark.parametrize('change, message', [
    (lambda s: {k: v for k, v in s.items() if 'neck' not in k}, 'neck.weight'),
    (lambda s: {k: v for k, v in s.items() if 'backbone.0' not in k}, '2 missing'),
    (lambda s: {k: v for k, v in s.items() if '.conv.' not in k}, 'conv.weight'),
    (lambda s: {**s, 'backbone.0.weight': torch.zeros(5, 2)}, '1 of another shape'),
    (lambda s: {**s, 'backbone.9.weight': torch.zeros(5, 2)}, '1 unexpected'),
    (lambda s: {k.removeprefix('backbone.'): v for k, v in s.items()
                if k.startswith('backbone.')},
     r'Not one name is the same.*backbone.init_cfg=dict\(type=\'Pretrained\''),
    (lambda s: {f'teacher.{k}': v for k, v in s.items()}, 'Not one name'),
])
def test_half_a_file_is_refused_and_changes_nothing(tmp_path, change, message):
    model = build()
    before = copy.deepcopy(model.state_dict())
    path = save(tmp_path / 'a.pth', change(build().state_dict()))
    for other_heads in (False, True):
        with pytest.raises(CheckpointError, match=message):
            load_weights(model, path, other_heads)
        assert_close(model.state_dict(), before, rtol=0, atol=0)
