"""Triton's kernels beside PyTorch's operators; test_triton.py runs this as a program.

Triton decides on import whether it interprets kernels, on CPUs, or compiles them.
"""
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops.triton import depthwise


def check(shape, size, dtype, has_bias):
    torch.manual_seed(0)
    channels = shape[1]
    x, grad = (torch.randn(shape).to(dtype).contiguous(
        memory_format=torch.channels_last) for _ in range(2))
    kernel = torch.randn(channels, 1, *size).to(dtype)
    bias = torch.randn(channels).to(dtype) if has_bias else None
    wide = [t.double().requires_grad_() for t in (x, kernel)]
    padding = [side // 2 for side in size]
    expected = F.conv2d(*wide, None if bias is None else bias.double(),
                        padding=padding, groups=channels)
    gradients = torch.autograd.grad(expected, wide, grad.double())
    tolerance = dict(rtol=1e-5, atol=1e-4) if dtype == torch.float32 else \
        dict(rtol=2e-2, atol=2e-2)
    out = depthwise.convolve(x, kernel, bias)
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_close(out.double(), expected, **tolerance)
    assert_close(depthwise.convolve(grad, kernel.flip(2, 3)).double(), gradients[0],
                 **tolerance)
    found = depthwise.kernel_gradient(grad, x, kernel)
    assert found.dtype == dtype
    assert_close(found.double(), gradients[1], **tolerance)


if __name__ == '__main__':
    depthwise.ROWS = 3  # several sums, the last of fewer rows
    # Rows, columns and channels that fill no block, one, and more than one.
    check((2, 5, 2, 4), (7, 7), torch.float32, False)
    check((1, 64, 3, 16), (3, 3), torch.float32, True)
    check((1, 70, 4, 19), (3, 5), torch.float32, True)
    check((1, 8, 5, 6), (3, 3), torch.float16, True)
    print('all kernels agree')
