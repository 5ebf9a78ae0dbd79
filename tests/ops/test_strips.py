"""The stem some rows at a time: the same numbers, nothing kept but the image."""
import pytest
import torch
from torch.testing import assert_close

from helpers import distance, randomize
from mmfastvit import reparameterize
from mmfastvit.models.fastvit.blocks import Stem
from mmfastvit.models.fastvit.variants import Variant
from mmfastvit.models.reparam import run_branches
from mmfastvit.ops.cpu import strips

CHANNELS = 4


@pytest.fixture
def calls(monkeypatch):
    """What went through the strips."""
    calls = []
    apply = strips._InStrips.apply

    def record(*args):
        calls.append(args)
        return apply(*args)

    monkeypatch.setattr(strips._InStrips, 'apply', record)
    return calls


def make_stem(dtype=torch.float64, memory_format=torch.channels_last):
    torch.manual_seed(0)
    variant = Variant((1,), (CHANNELS,), 3, ('repmixer',))
    stem = randomize(Stem(3, variant, dict(type='BN'))).to(dtype)
    return stem.eval().to(memory_format=memory_format)


@pytest.mark.parametrize('strip', [1, 150, 700, 2000])
@pytest.mark.parametrize('memory_format',
                         [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize('size', [(32, 24), (13, 9), (30, 5), (1, 40)])
def test_equals_its_branches_with_all_gradients(size, memory_format, strip,
                                                monkeypatch, calls):
    monkeypatch.setattr(strips, 'STRIP', strip)
    stem = make_stem(memory_format=memory_format)
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    with run_branches(stem):
        expected = stem(x)
    assert not calls
    parameters = list(stem.parameters())
    grad = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, parameters, grad)
    with torch.no_grad():
        assert_close(stem(x), expected)
        assert_close(reparameterize(stem)(x), expected)
    actual = stem(x)
    assert len(calls) == 3 * (x.numel() * CHANNELS / 12 > strip)
    assert_close(actual, expected)
    assert actual.is_contiguous(memory_format=memory_format)
    assert_close(torch.autograd.grad(actual, parameters, grad), gradients)


def test_keeps_the_image_and_the_kernels(monkeypatch, calls):
    monkeypatch.setattr(strips, 'STRIP', 1)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(tuple(t.shape)), lambda t: t):
        make_stem()(torch.randn(2, 3, 32, 24, dtype=torch.float64))
    assert calls
    assert [shape for shape in saved if shape[0] == 2] == [(2, 3, 32, 24)]


def test_only_what_is_trained_gets_gradients(monkeypatch, calls):
    monkeypatch.setattr(strips, 'STRIP', 1)
    stem, x = make_stem(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    stem[1].requires_grad_(False)
    stem(x).sum().backward()
    for i, conv in enumerate(stem):
        assert all((p.grad is None) == (i == 1) for p in conv.parameters())
    stem.requires_grad_(False)
    assert not stem(x).requires_grad
    shift = stem[0].convs[0].norm.bias.requires_grad_()
    with run_branches(stem):
        expected, = torch.autograd.grad(stem(x).sum(), shift)
    actual, = torch.autograd.grad(stem(x).sum(), shift)
    assert_close(actual, expected)
    assert len(calls) == 3


def test_gradients_do_not_depend_on_autocast_around_them(monkeypatch, calls):
    monkeypatch.setattr(strips, 'STRIP', 1)
    stem, x = make_stem(torch.float32), torch.randn(2, 3, 16, 16)
    parameters = list(stem.parameters())
    expected = torch.autograd.grad(stem(x).sum(), parameters)
    out = stem(x).sum()
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(torch.autograd.grad(out, parameters), expected, rtol=0, atol=0)
    assert len(calls) == 2


def test_many_strips_lose_no_digits(monkeypatch, calls):
    """In bfloat16, where sums over strips would be rounded at each."""
    stem = make_stem(torch.bfloat16)
    x = torch.randn(2, 3, 256, 16, dtype=torch.bfloat16)
    parameters, found = list(stem.parameters()), []
    for strip in (2**20, 1):
        monkeypatch.setattr(strips, 'STRIP', strip)
        found.append(torch.autograd.grad(stem(x).float().sum(), parameters))
    assert len(calls) == 1
    for actual, expected in zip(*reversed(found)):
        assert distance(actual.double(), expected.double()) < 0.02


@pytest.mark.parametrize('why', ['small', 'gradient of the image', 'autocast',
                                 'batch statistics', 'traced'])
def test_runs_whole(why, monkeypatch, calls):
    monkeypatch.setattr(strips, 'STRIP', 2**20 if why == 'small' else 1)
    stem, x = make_stem(torch.float32), torch.randn(2, 3, 16, 16)
    if why == 'gradient of the image':
        x.requires_grad_()
        stem(x).sum().backward()
        assert x.grad.abs().sum() > 0
    elif why == 'autocast':
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert stem(x).dtype == torch.bfloat16
    elif why == 'traced':
        torch.jit.trace(reparameterize(stem), x, check_trace=False)
    else:
        stem.train(why == 'batch statistics')(x)
    assert not calls
