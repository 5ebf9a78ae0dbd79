"""GELU and its gradient, in any memory format."""
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops import gelu
from mmfastvit.ops.gelu_backward import gelu_backward_


@pytest.mark.parametrize('of_grad', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('of_map', [torch.contiguous_format, torch.channels_last])
def test_gelu_in_any_memory_format(of_map, of_grad):
    x = torch.randn(2, 8, 6, 4).contiguous(memory_format=of_map).requires_grad_()
    grad = torch.randn(2, 8, 6, 4).contiguous(memory_format=of_grad)
    wide = x.detach().double().requires_grad_()
    expected = F.gelu(wide)
    of_x, = torch.autograd.grad(expected, wide, grad.double())
    assert_close(gelu(x).double(), expected, rtol=1e-5, atol=1e-6)
    kept = grad.clone()
    for actual in (torch.autograd.grad(gelu(x), x, grad)[0],
                   gelu_backward_(kept.clone(), x.detach())):
        assert_close(actual.double(), of_x, rtol=1e-5, atol=1e-6)
    assert torch.equal(grad, kept)
    with torch.no_grad():
        own = x.clone()
        assert_close(gelu(own).double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(own, x)
        assert gelu(own, inplace=True) is own
    assert_close(own.double(), expected, rtol=1e-5, atol=1e-6)
