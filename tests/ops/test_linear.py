"""Linear maps by either of PyTorch's two libraries."""
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops.cpu.linear import linear


@pytest.mark.parametrize('rows', [1, 63, 64, 127, 128])
@pytest.mark.parametrize('inputs, outputs', [(8, 24), (8, 8), (24, 8)])
def test_both_libraries_of_linear_maps(rows, inputs, outputs):
    """Which one runs depends on the numbers of rows and of channels."""
    x, kernel = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    bias = torch.randn(outputs)
    expected = F.linear(x, kernel, bias)
    assert_close(linear(x, kernel, bias), expected)
    assert_close(linear(x, kernel), F.linear(x, kernel))
    assert_close(linear(x, kernel, bias, gelu=True), F.gelu(expected))
