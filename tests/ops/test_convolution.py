"""Our convolution computes as PyTorch's, at every size and in every layout."""
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.models.layers import Conv2d

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('channels, outputs, kernel, stride', [
    (16, 1, 7, 1), (19, 1, 7, 1), (8, 1, 3, 1), (8, 1, 5, 1), (8, 1, 7, 2),
    (8, 2, 7, 2), (8, 2, 3, 1), (8, 3, 3, 2)])
def test_depthwise(channels, outputs, kernel, stride, dtype, memory_format):
    conv = Conv2d(channels, channels * outputs, kernel, stride, kernel // 2,
                  groups=channels).to(dtype).to(memory_format=memory_format)
    for size in [(1, 1), (1, 9), (2, 2), (5, 3), (7, 7), (8, 6), (13, 11), (32, 8)]:
        x = torch.randn(2, channels, *size, dtype=dtype)
        x = x.contiguous(memory_format=memory_format).requires_grad_()
        wanted = (x, conv.weight, conv.bias)
        out = conv(x)
        expected = F.conv2d(*wanted, stride, kernel // 2, groups=channels)
        grad = torch.randn(out.shape, dtype=dtype)
        assert_close(out, expected)
        assert out.is_contiguous(memory_format=memory_format)
        # Up to 512 products of normal numbers add up to a gradient.
        assert_close(torch.autograd.grad(out, wanted, grad),
                     torch.autograd.grad(expected, wanted, grad),
                     rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-4
                     if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize('frozen', ['x', 'weight', 'bias'])
def test_gradients_that_nobody_wants(frozen):
    conv = Conv2d(8, 8, 7, padding=3, groups=8).to(memory_format=FORMATS[1])
    x = torch.randn(2, 8, 9, 9).contiguous(memory_format=FORMATS[1])
    x.requires_grad_()
    tensors = dict(x=x, weight=conv.weight, bias=conv.bias)
    tensors[frozen].requires_grad_(False)
    conv(x).sum().backward()
    assert [name for name, t in tensors.items() if t.grad is None] == [frozen]


def test_other_convolutions_are_left_alone():
    x = torch.randn(2, 8, 9, 9)
    for conv in (Conv2d(8, 4, 3), Conv2d(8, 8, 1), Conv2d(8, 8, 3, groups=4)):
        assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias,
                                       groups=conv.groups))
