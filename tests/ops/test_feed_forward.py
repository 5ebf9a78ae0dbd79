"""fc2(gelu(fc1(x))) in tiles: the same numbers, whatever is kept."""
import pytest
import torch
from torch.testing import assert_close

from mmfastvit import ops
from mmfastvit.ops.cpu import feed_forward


@pytest.mark.parametrize('tile', [1, 100, 2**20])
@pytest.mark.parametrize('keeps_from', [1, 1000])
def test_equals_the_plain_operations(tile, keeps_from, monkeypatch):
    monkeypatch.setattr(feed_forward, 'TILE', tile)
    monkeypatch.setattr(feed_forward, 'KEEPS_FROM', keeps_from)
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 3, dtype=torch.float64)
    tensors = [x.contiguous(memory_format=torch.channels_last)] + [
        torch.randn(shape, dtype=torch.float64)
        for shape in ((12, 8, 1, 1), (12, ), (8, 12, 1, 1), (8, ))]
    tensors = [t.requires_grad_() for t in tensors]
    out = ops.feed_forward(*tensors)
    assert type(out.grad_fn).__name__ == '_FeedForwardBackward'
    expected = ops.feed_forward.plain(*tensors)
    grad = torch.randn_like(expected)
    assert_close(out, expected)
    assert_close(torch.autograd.grad(out, tensors, grad),
                 torch.autograd.grad(expected, tensors, grad))
    with torch.no_grad():
        before = x.clone()
        assert_close(ops.feed_forward(*tensors), expected)
        assert torch.equal(x, before)
        singles = [tensor.float() for tensor in tensors]
        assert_close(ops.feed_forward(*singles, inplace=True).double(), expected,
                     rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('channels, keeps', [(64, False), (128, True)])
def test_wide_blocks_keep_their_hidden_map(channels, keeps):
    x = torch.randn(1, channels, 4, 4, requires_grad=True).contiguous(
        memory_format=torch.channels_last)
    kernel = torch.randn(4 * channels, channels, 1, 1)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(tuple(t.shape)), lambda t: t):
        ops.feed_forward(x, kernel, torch.zeros(4 * channels), kernel.transpose(0, 1),
                         torch.zeros(channels))
    assert ((16, 4 * channels) in saved) == keeps
