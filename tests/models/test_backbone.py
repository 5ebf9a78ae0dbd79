import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close

from helpers import (
    BOTH,
    FASTERVIT_KIND,
    assert_outputs_close,
    assert_own_gradients,
    build,
    family_of,
    side_of,
)
from mmfastvit import ArgumentError, FastViT, reparameterize
from mmfastvit.models.layers import DropPath
from mmfastvit.models.reparam import run_branches


@pytest.mark.parametrize('arch', BOTH)
def test_shapes_and_strides(arch):
    model = family_of(arch)(arch).eval()
    assert model.strides == (4, 8, 16, 32)
    assert model.out_channels == model.variant.embed_dims[:4]
    for size in ((64, 64), (65, 97), (37, 50), (1, 3)):
        with torch.no_grad():
            features = model(torch.rand(1, 3, *size))
        assert isinstance(features, tuple)
        for x, channels, stride in zip(features, model.out_channels,
                                       model.strides):
            rounded_up = tuple(-(-side // stride) for side in size)
            assert x.shape == (1, channels, *rounded_up)


@pytest.mark.parametrize('arch', BOTH)
def test_every_parameter_gets_a_gradient(arch):
    """Also the attention stage's, which the reference leaves without."""
    for training in (True, False):
        model = build(arch, double=False).train(training)
        features = model(torch.randn(2, 3, side_of(arch), side_of(arch)))
        sum((x * torch.randn(x.shape)).sum() for x in features).backward()
        without = [n for n, p in model.named_parameters()
                   if p.grad is None or not p.grad.abs().sum() > 0]
        assert not without
        assert_own_gradients(model)


@pytest.mark.parametrize('arch', BOTH)
def test_three_forms_are_equal(arch):
    """Branches with frozen statistics, one kernel, deploy form."""
    model = build(arch).eval()
    x = torch.randn(1, 3, side_of(arch), 96, dtype=torch.float64)
    frozen = value_and_gradients(model, x)
    model.zero_grad()
    with run_branches(model):
        branches = value_and_gradients(model, x)
    assert_outputs_close(frozen[0], branches[0], 1e-10)
    for name, gradient in branches[1].items():
        assert_close(frozen[1][name], gradient, rtol=0,
                     atol=1e-9 * max(1, gradient.abs().max().item()))
    deployed = reparameterize(model)
    assert_outputs_close(deployed(x), frozen[0], 1e-10)


def value_and_gradients(model, x):
    features = model(x)
    sum((f * f).mean() for f in features).backward()
    return ([f.detach() for f in features],
            {n: p.grad.clone() for n, p in model.named_parameters()})


@pytest.mark.parametrize('arch', BOTH)
def test_float32_deploy_form(arch):
    model = build(arch, double=False).eval()
    x = torch.randn(1, 3, side_of(arch), 96)
    with torch.no_grad(), run_branches(model):
        assert_outputs_close(reparameterize(model)(x), model(x), 1e-5)


def test_reparameterize_is_idempotent_and_copies():
    model = build('sa12', double=False).eval()
    keys = list(model.state_dict())
    deployed = reparameterize(model)
    assert list(model.state_dict()) == keys and not model.deploy
    assert deployed.deploy
    again = reparameterize(deployed)
    assert_close(again.state_dict(), deployed.state_dict(), rtol=0, atol=0)
    deployed.switch_to_deploy()
    assert_close(again.state_dict(), deployed.state_dict(), rtol=0, atol=0)
    assert reparameterize(deployed, inplace=True) is deployed


def test_deploy_form_holds_no_norm_scale_or_branch():
    deployed = reparameterize(FastViT('sa12', out_norm_cfg=None))
    assert not [m for m in deployed.modules() if isinstance(m, _BatchNorm)]
    kinds = {n.rsplit('.', 1)[-1] for n in deployed.state_dict()}
    assert kinds == {'weight', 'bias'}
    convs = [m for m in deployed.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in deployed.modules() if isinstance(m, nn.Linear)]
    assert (len(convs), len(linears)) == (56, 4)


def test_built_in_deploy_form():
    built = FastViT('t8', deploy=True)
    folded = reparameterize(FastViT('t8'))
    assert built.deploy
    assert [(k, v.shape) for k, v in built.state_dict().items()] == [
        (k, v.shape) for k, v in folded.state_dict().items()]


def test_reparameterize_a_whole_model_or_nothing():
    whole = nn.ModuleDict(dict(backbone=build('t8', double=False),
                               head=nn.Conv2d(3, 3, 1)))
    assert reparameterize(whole)['backbone'].deploy
    with pytest.raises(ArgumentError, match='no re-parameterizable layer'):
        reparameterize(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize('arch', ['t8', pytest.param(FASTERVIT_KIND, id='fastervit')])
@pytest.mark.parametrize('frozen', range(-1, 5))
def test_frozen_stages(arch, frozen):
    model = family_of(arch)(arch, frozen_stages=frozen).train()
    parts = [model.stem, *model.stages]
    for i, part in enumerate(parts):
        is_frozen = i <= frozen
        assert all(p.requires_grad != is_frozen for p in part.parameters())
        assert all(m.training != is_frozen for m in part.modules())
    assert all(p.requires_grad for p in model.out_norms.parameters())
    before = copy.deepcopy(model.state_dict())
    sum(x.sum() for x in model(torch.rand(2, 3, 64, 64))).backward()
    changed = {n for n, v in model.state_dict().items()
               if not torch.equal(v, before[n])}
    names = ['stem.'] + [f'stages.{i}.' for i in range(4)]
    for i, name in enumerate(names):
        has_norms = any(n.startswith(name) and 'running' in n for n in before)
        assert any(n.startswith(name) for n in changed) == (has_norms and i > frozen)


@pytest.mark.parametrize('arch', ['sa12', pytest.param(FASTERVIT_KIND,
                                                       id='fastervit')])
def test_norm_eval(arch):
    model = family_of(arch)(arch, norm_eval=True).train()
    assert model.training and model.stem.training
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms and not any(m.training for m in norms)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(2, 3, side_of(arch), side_of(arch))
    sum(f.sum() for f in model(x)).backward()
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is not None for p in model.parameters())


def test_norm_config_reaches_every_norm():
    model = FastViT('sa12', norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01,
                                          requires_grad=False))
    norms = [m for n, m in model.named_modules() if isinstance(m, _BatchNorm)
             and not n.startswith('out_norms')]
    assert all(m.eps == 1e-3 and m.momentum == 0.01
               and not m.weight.requires_grad for m in norms)
    sync = FastViT('t8', norm_cfg=dict(type='SyncBN'))
    assert reparameterize(sync).deploy


@pytest.mark.parametrize('arch', ['sa12', pytest.param(FASTERVIT_KIND,
                                                       id='fastervit')])
def test_checkpointing_gives_the_same_gradients(arch):
    model = build(arch, drop_path_rate=0.)
    twin = build(arch, drop_path_rate=0., with_cp=True)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, side_of(arch), 64, dtype=torch.float64)
    expected, actual = (value_and_gradients(m, x) for m in (model, twin))
    assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    # Running statistics count the batch once, not again when recomputed.
    assert_close(twin.state_dict(), model.state_dict())


def test_drop_path_grows_linearly():
    model = FastViT('t12', drop_path_rate=0.11)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert_close(rates, [0.01 * i for i in range(12)])
    x = torch.rand(2, 3, 64, 64)
    assert torch.isfinite(model(x)[-1]).all()


def test_some_stages_only():
    full = build('sa12', double=False, out_norm_cfg=None).eval()
    part = FastViT('sa12', out_indices=(1, 2), out_norm_cfg=None).eval()
    assert len(part.stages) == 3  # what nobody sees is not built
    part.load_state_dict({k: v for k, v in full.state_dict().items()
                          if not k.startswith('stages.3.')})
    x = torch.rand(1, 3, 64, 64)
    assert_close(part(x), full(x)[1:3])
    assert (part.out_channels, part.strides) == ((128, 256), (8, 16))


@pytest.mark.parametrize('kwargs, message', [
    (dict(arch='sa13'), 'variants are t8'),
    (dict(out_indices=(0, 4)), 'ascending order'),
    (dict(out_indices=(0, 0)), 'at most once'),
    (dict(out_indices=()), 'give stages'),
    (dict(out_indices=(2, 1)), 'ascending order'),
    (dict(out_indices=3), r'\(3,\) for this one stage'),
    (dict(frozen_stages=5), 'outside -1…4'),
    (dict(frozen_stages=-2), 'outside -1…4'),
    (dict(drop_path_rate=1.), 'probability'),
    (dict(in_channels=0), 'in_channels=0'),
])
def test_bad_arguments(kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        FastViT(**{'arch': 't8', **kwargs})


@pytest.mark.parametrize('shape', [(3, 64, 64), (1, 4, 64, 64),
                                   (1, 3, 0, 64), (0, 3, 64, 64)])
def test_bad_inputs(shape):
    with pytest.raises(ArgumentError, match=r'takes a non-empty \(B, 3, H, W\)'):
        FastViT('t8')(torch.rand(shape))


def test_checkpointed_blocks_may_be_differentiated_again():
    model = build('t8', with_cp=True)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    out = sum(f.sum() for f in model(x))
    out.backward(retain_graph=True)
    first = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    out.backward()
    assert_close([p.grad for p in model.parameters()], first)
