"""The live form: exact, small, and a batch norm in all it does."""
import copy
import os
import subprocess
import sys
from contextlib import nullcontext
from itertools import product

import pytest
import synchronized_norms
import torch
from mmengine.model import revert_sync_batchnorm
from torch import distributed, nn
from torch.testing import assert_close

from conftest import ROOT
from helpers import randomize
from mmfastvit import ops
from mmfastvit.benchmark.measure import saved_bytes
from mmfastvit.models.layers import ConvFFN, NormLinear, RepConv, RepMixer
from mmfastvit.models.reparam import run_branches
from mmfastvit.models.reparam.live import Term, sum_of_norms

BN = dict(type='BN')
LAYERS = {
    'mobileone': lambda norm: RepConv(8, 8, (3, 1), groups=8, skip=True,
                                      norm_cfg=norm),
    'mobileone, stride 2': lambda norm: RepConv(8, 8, (3, 1), 2, groups=8,
                                                norm_cfg=norm),
    'mobileone, twice as wide': lambda norm: RepConv(8, 16, (3, 1), groups=8,
                                                     norm_cfg=norm),
    'mobileone dense, stride 2': lambda norm: RepConv(8, 12, (3, 1), 2,
                                                      norm_cfg=norm),
    'mobileone 1x1': lambda norm: RepConv(8, 8, (1,), skip=True, norm_cfg=norm),
    'large kernel': lambda norm: RepConv(8, 16, (7, 3), 2, groups=8,
                                         norm_cfg=norm),
    'repmixer': lambda norm: RepMixer(8, norm_cfg=norm),
    'norm, linear': lambda norm: NormLinear(8, 12, norm_cfg=norm),
    'conv ffn': lambda norm: ConvFFN(8, 16, norm_cfg=norm),
    # Fewer of them than channels come out: 2 x 30.
    'norm, linear, few tokens': lambda norm: NormLinear(8, 64, norm_cfg=norm),
    'conv ffn, few pixels': lambda norm: ConvFFN(8, 64, norm_cfg=norm),
}
NORMS = {
    'BN': BN,
    'one momentum': dict(BN, momentum=0.3, eps=1e-3),
    'average of all batches': dict(BN, momentum=None),
    'no scale': dict(BN, affine=False),
    'no running statistics': dict(BN, track_running_stats=False),
    'SyncBN, one process': dict(type='SyncBN'),
}


def shape_for(layer):
    return (2, 30, 8) if isinstance(layer, NormLinear) else (2, 8, 6, 5)


def both_forms(layer, x, steps=2):
    """Return results of live form and branches: values, gradients, statistics."""
    results = []
    for branches in (False, True):
        # PyTorch runs synchronized norms on GPUs alone.
        twin = revert_sync_batchnorm(copy.deepcopy(layer)) if branches \
            else copy.deepcopy(layer)
        own = x.clone().requires_grad_()
        for _ in range(steps):
            if branches:
                with run_branches(twin):
                    out = twin(own)
            else:
                out = twin(own)
        torch.manual_seed(1)
        (out * torch.randn(out.shape, dtype=out.dtype)).sum().backward()
        results.append((out, own.grad,
                        {n: p.grad for n, p in twin.named_parameters()},
                        twin.state_dict()))
    return results


@pytest.mark.parametrize('max_values', [0, 2**20])
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name', LAYERS)
def test_equals_the_branches(name, norm, max_values, monkeypatch):
    monkeypatch.setattr('mmfastvit.models.reparam.live.MAX_VALUES', max_values)
    layer = randomize(LAYERS[name](NORMS[norm])).double()
    x = torch.randn(shape_for(layer), dtype=torch.float64)
    live, branches = both_forms(layer, x)
    assert_close(live, branches, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', LAYERS)
def test_equals_the_branches_without_gradients(name):
    layer = randomize(LAYERS[name](BN)).double()
    x = torch.randn(shape_for(layer), dtype=torch.float64)
    with torch.no_grad():
        actual = copy.deepcopy(layer)(x)
        with run_branches(layer):
            assert_close(actual, layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('norm', NORMS)
def test_the_first_layer_needs_but_one_convolution(norm):
    """Of an image, which gets no gradient, the patches tell the statistics."""
    layer = randomize(RepConv(3, 48, (3, 1), 2, norm_cfg=NORMS[norm])).double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64) + 3
    results = []
    for branches in (False, True):
        twin = copy.deepcopy(layer)
        if branches:
            twin = revert_sync_batchnorm(twin)
        with run_branches(twin) if branches else nullcontext():
            out = twin(x)
        torch.manual_seed(1)
        (out * torch.randn(out.shape, dtype=out.dtype)).sum().backward()
        results.append((out, {n: p.grad for n, p in twin.named_parameters()},
                        twin.state_dict()))
    assert_close(*results, rtol=1e-9, atol=1e-9)


def test_statistics_are_exact_under_autocast():
    layer = randomize(RepConv(3, 48, (3, 1), 2))
    twin, x = copy.deepcopy(layer), torch.randn(2, 3, 32, 32) + 3
    twin(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert_close(layer.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-6)


def test_the_first_layer_saves_its_image_alone():
    layer = RepConv(3, 48, (3, 1), 2)
    x = torch.randn(2, 3, 128, 128)
    with saved_bytes(layer) as saved:
        out = layer(x)
    moments = 8 * 48 * 27 * x.element_size()
    assert x.nbytes <= saved.total <= x.nbytes + moments < out.nbytes / 2


@pytest.mark.parametrize('which', [0, 1, -1])
def test_some_norms_on_running_statistics(which):
    layer = randomize(RepMixer(8)).double()
    layer.norms()[which].eval()
    live, branches = both_forms(layer, torch.randn(2, 8, 6, 5).double())
    assert_close(live, branches, rtol=1e-9, atol=1e-9)


def test_norms_that_differ():
    layer = randomize(RepMixer(8)).double()
    first, second, third = layer.norms()[:3]
    first.eps, second.momentum = 0.1, 0.5
    second.weight = third.bias = None
    live, branches = both_forms(layer, torch.randn(2, 8, 6, 5).double())
    assert_close(live, branches, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', LAYERS)
def test_a_large_mean_loses_no_more_digits(name):
    """Against float64: hardly farther away than the branches in float32."""
    layer = randomize(LAYERS[name](BN))
    x = torch.randn(shape_for(layer)) + 300
    exact = both_forms(copy.deepcopy(layer).double(), x.double())[1]
    live, branches = both_forms(layer, x)
    for i in (0, 1):
        errors = [(found[i] - exact[i]).abs().max() for found in (live, branches)]
        assert errors[0] <= 3 * errors[1] + 1e-6 * exact[i].abs().max()


def test_flips_keep_statistics():
    """In float64, over modes and steps, the same as the branches."""
    layer = randomize(RepMixer(8)).double()
    twin = copy.deepcopy(layer)
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    for training in (True, False, True, True):
        with run_branches(twin):
            expected = twin.train(training)(x)
        assert_close(layer.train(training)(x), expected, rtol=1e-9, atol=1e-9)
        assert_close(layer.state_dict(), twin.state_dict())


def test_a_derived_norm_runs_itself():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = RepConv(8, 8, (1,))
    layer.convs[0].norm = Doubled(8)
    x = torch.randn(2, 8, 4, 4)
    assert_close(layer(x), layer.convs[0](x))


@pytest.mark.parametrize('name, live_maps, branch_maps', [
    ('mobileone', 2, 3), ('mobileone 1x1', 2, 2), ('repmixer', 2, 4),
    ('conv ffn', 2, 8)])
def test_saves_its_input_and_its_convolution(name, live_maps, branch_maps):
    """Of a ConvFFN, too: nothing of its hidden map, twice as wide."""
    layer = LAYERS[name](BN).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 64, 64).contiguous(memory_format=torch.channels_last)
    vectors = 4096  # bytes of statistics and weights, of eight channels
    for form, maps in ((nullcontext(), live_maps),
                       (run_branches(layer), branch_maps)):
        with saved_bytes(layer) as saved, form:
            out = layer(x)
        assert maps * x.nbytes <= saved.total <= maps * x.nbytes + vectors
        del out


def test_synchronized_over_two_processes(tmp_path):
    """Equal to one process with the whole batch, by one exchange a layer."""
    variables = {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT / 'tests')}
    processes = [subprocess.Popen(
        [sys.executable, synchronized_norms.__file__, str(rank), str(tmp_path)],
        env={**os.environ, **variables}) for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    found = [torch.load(tmp_path / f'{rank}.pth', weights_only=True)
             for rank in (0, 1)]
    layers, x, weight = synchronized_norms.problem('BN')
    for name, layer in layers.items():
        own = x[name].clone().requires_grad_()
        with run_branches(layer):
            out = layer(own)
        (out * weight[name]).sum().backward()
        parts = [rank[name] for rank in found]
        assert_close(torch.cat([part['out'] for part in parts]), out,
                     rtol=1e-9, atol=1e-9)
        assert_close(torch.cat([part['grad'] for part in parts]), own.grad,
                     rtol=1e-9, atol=1e-9)
        for key, parameter in layer.named_parameters():
            assert_close(sum(part['grads'][key] for part in parts),
                         parameter.grad, rtol=1e-9, atol=1e-9)
        for part in parts:
            assert_close(part['state'], layer.state_dict(), rtol=1e-9, atol=1e-9)
            assert part['exchanges'] == 1


@pytest.fixture(params=[False, True], ids=['no group', 'a group of one'])
def process_group(request, tmp_path):
    """One process, without a process group and with one."""
    if request.param:
        distributed.init_process_group('gloo', f'file://{tmp_path}/store', rank=0,
                                       world_size=1)
    yield
    if request.param:
        distributed.destroy_process_group()


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@pytest.mark.parametrize('layer', ['mobileone', 'repmixer', 'norm, linear',
                                   'conv ffn'])
def test_one_value_a_channel_has_no_variance(process_group, layer, norm):
    layer = LAYERS[layer](dict(type=norm))
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    shape = (1, 1, 8) if isinstance(layer, NormLinear) else (1, 8, 1, 1)
    with pytest.raises(ValueError, match='more than 1 value per channel.*norm_eval'):
        layer(torch.rand(shape))
    assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_parameters_changed_meanwhile_are_noticed():
    """As PyTorch does for the branches."""
    layer = RepMixer(8)
    out = layer(torch.randn(2, 8, 6, 5))
    with torch.no_grad():
        layer.norm.weight.mul_(3)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        out.sum().backward()


def test_modes_changed_before_a_second_derivative():
    layer = randomize(RepMixer(8)).double()
    x, found = torch.randn(2, 8, 6, 5, dtype=torch.float64, requires_grad=True), []
    for flips in (False, True):
        out = layer.train()(x)
        layer.train(not flips)
        first, = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        found += torch.autograd.grad(first.square().sum(), x)
    assert_close(*found)


@pytest.mark.parametrize('max_values', [0, 2**20])
@pytest.mark.parametrize('shape', [(1, 6, 4, 5), (2, 6, 4, 1), (2, 6, 1, 1),
                                   (1, 6, 1, 4), (2, 6, 4, 5)])
def test_odd_strides(shape, max_values, monkeypatch):
    """Torch 2.11's own backward pass of batch norm is wrong with many of them."""
    monkeypatch.setattr('mmfastvit.models.reparam.live.MAX_VALUES', max_values)
    norm = randomize(nn.BatchNorm2d(shape[1])).double()
    layouts = list(product((torch.contiguous_format, torch.channels_last), range(3)))
    for of_x, of_grad, step in product(layouts, layouts, (1, 2)):
        x = torch.randn(*shape[:2], *(step * side for side in shape[2:])).double()
        x = restrided(x, *of_x)[:, :, ::step, ::step]
        grad = restrided(torch.randn(shape).double(), *of_grad)
        found = []
        # Beside a new tensor's strides, and plain operators.
        for as_new, context in ((lambda t: t, nullcontext()),
                                (lambda t: torch.empty(shape).double().copy_(t),
                                 ops.plain())):
            seen = as_new(x.detach()).requires_grad_()
            with context:
                out = sum_of_norms([(seen, [Term(norm)])])
            found.append(torch.autograd.grad(out, [seen, *norm.parameters()],
                                             as_new(grad)))
        assert_close(*found)


def restrided(x, layout, stride):
    """Return ``x`` in a layout, the strides of axes of one value those of no tensor."""
    x = x.contiguous(memory_format=layout)
    return x.as_strided(x.shape, [stride if size == 1 else own
                                  for size, own in zip(x.shape, x.stride())])
