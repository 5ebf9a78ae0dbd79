"""Triton's kernels beside PyTorch's operators; test_triton.py runs this as a program.

Triton decides on import whether it interprets kernels, on CPUs, or compiles them.
"""
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops.triton import convolution, depthwise, feed_forward, stem

TOLERANCE = {torch.float32: dict(rtol=1e-5, atol=1e-4),
             torch.float16: dict(rtol=2e-2, atol=2e-2)}


def tensor(*shape, dtype=torch.float32):
    out = torch.randn(shape).to(dtype)
    return out.contiguous(memory_format=torch.channels_last) if out.ndim == 4 else out


def assert_is(found, expected, dtype):
    assert found.dtype == dtype
    assert_close(found.double(), expected, **TOLERANCE[dtype])


def check_depthwise(shape, outputs, size, stride=(1, 1), dtype=torch.float32,
                    has_bias=True):
    channels = shape[1]
    x, kernel = tensor(*shape, dtype=dtype), torch.randn(channels * outputs, 1, *size)
    kernel = kernel.to(dtype)
    bias = torch.randn(len(kernel)).to(dtype) if has_bias else None
    wide = [t.double().requires_grad_() for t in (x, kernel)]
    expected = F.conv2d(*wide, None if bias is None else bias.double(), stride,
                        [side // 2 for side in size], groups=channels)
    grad = tensor(*expected.shape, dtype=dtype)
    gradients = torch.autograd.grad(expected, wide, grad.double())
    for gelu in (False, True):
        out = depthwise.convolve(x, kernel, bias, stride, gelu)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert_is(out, F.gelu(expected) if gelu else expected, dtype)
    assert_is(depthwise.kernel_gradient(grad, x, kernel, stride), gradients[1], dtype)
    found = convolution.gradients(grad, x, kernel, stride, [True, True, True])
    for own, other in zip(found, (*gradients, grad.double().sum((0, 2, 3)))):
        assert_is(own, other, dtype)


def check_feed_forward(channels, hidden, out_channels, dtype=torch.float32):
    x = tensor(2, channels, 5, 7, dtype=dtype)
    parameters = [tensor(*shape, dtype=dtype) / shape[-1]**0.5 for shape in (
        (hidden, channels), (hidden, ), (out_channels, hidden), (out_channels, ))]
    kernel_1, bias_1, kernel_2, bias_2 = (p.double() for p in parameters)
    expected = F.conv2d(F.gelu(F.conv2d(x.double(), kernel_1[..., None, None], bias_1)),
                        kernel_2[..., None, None], bias_2)
    out = feed_forward.fused(x, *parameters)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_is(out, expected, dtype)


def check_image(shape, channels, dtype=torch.float32):
    x, bias = tensor(*shape, dtype=dtype), tensor(channels, dtype=dtype)
    kernel = tensor(channels, shape[1], 3, 3, dtype=dtype)
    out = stem.convolve_image(x, kernel, bias)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_is(out, F.gelu(F.conv2d(x.double(), kernel.double(), bias.double(), 2, 1)),
              dtype)


def check_operators():
    """What the compiler is told of them is what they do."""
    for needs_gradient in (False, True):
        x = tensor(1, 3, 4, 5).requires_grad_(needs_gradient)
        torch.library.opcheck(torch.ops.mmfastvit.triton_depthwise, (
            x, torch.randn(6, 1, 3, 3, requires_grad=needs_gradient),
            torch.randn(6, requires_grad=needs_gradient), [2, 2]))
        torch.library.opcheck(torch.ops.mmfastvit.triton_feed_forward, (
            x, *(torch.randn(shape, requires_grad=needs_gradient)
                 for shape in ((8, 3), (8, ), (3, 8), (3, )))))
    torch.library.opcheck(torch.ops.mmfastvit.triton_stem, (
        tensor(1, 3, 9, 8), [2, 2, 1], [
            torch.randn(shape) for shape in (
                (4, 3, 3, 3), (4, ), (4, 1, 3, 3), (4, ), (4, 4, 1, 1), (4, ))]))


if __name__ == '__main__':
    torch.manual_seed(0)
    depthwise.SUMMED = 3  # several sums, the last of fewer rows
    # Rows, columns and channels that fill no block, one, and more than one.
    check_depthwise((2, 5, 2, 4), 1, (7, 7), has_bias=False)
    check_depthwise((1, 64, 5, 16), 1, (3, 3))
    check_depthwise((1, 70, 4, 19), 1, (3, 5), (1, 2))
    check_depthwise((1, 4, 9, 6), 2, (7, 7), (2, 2))
    check_depthwise((1, 8, 5, 6), 1, (3, 3), dtype=torch.float16)
    check_feed_forward(20, 80, 24)
    check_feed_forward(64, 70, 64)
    check_feed_forward(8, 32, 8, torch.float16)
    check_image((2, 3, 9, 13), 10)
    check_image((1, 3, 4, 300), 16, torch.float16)
    check_operators()
    print('all kernels agree')
