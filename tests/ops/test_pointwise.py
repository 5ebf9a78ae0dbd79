"""1x1 convolutions as matrix products, what they are on GPUs."""
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops.pointwise import _as_product


@pytest.mark.parametrize('has_bias', [False, True])
def test_equals_the_convolution(has_bias):
    tensors = [torch.randn(2, 6, 5, 4), torch.randn(8, 6, 1, 1), torch.randn(8)]
    found = []
    for function in (F.conv2d, _as_product):
        x, kernel, bias = (t.double().requires_grad_() for t in tensors)
        x_laid_out = x.contiguous(memory_format=torch.channels_last)
        out = function(x_laid_out, kernel, bias if has_bias else None)
        assert out.is_contiguous(memory_format=torch.channels_last)
        wanted = (x, kernel, bias) if has_bias else (x, kernel)
        found.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
    assert_close(found[1], found[0])
