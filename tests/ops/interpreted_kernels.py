"""Triton's kernels beside PyTorch's operators; test_triton.py runs this as a program.

Triton decides on import whether it interprets kernels, on CPUs, or compiles them.
"""
from itertools import product

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmfastvit.ops import functions
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


def check_stem():
    """From contiguous pictures, too, and strided parameters."""
    parameters = [torch.randn(2, *shape)[0] for shape in (
        (4, 3, 3, 3), (4, ), (4, 1, 3, 3), (4, ), (4, 4, 1, 1), (4, ))]
    parameters[1] = torch.randn(4, 2)[:, 0]
    for x in (tensor(2, 3, 9, 7), torch.randn(2, 3, 9, 7)):
        expected = functions.conv_stem.plain(
            x.double(), 'gelu', [2, 2, 1], [p.double() for p in parameters])
        assert_is(stem.compute(x, [2, 2, 1], parameters), expected, torch.float32)


def gradients(function, tensors, needed, order):
    """Return those of first or second order, None for what is not needed."""
    tensors = [t.detach().requires_grad_(wanted) for t, wanted in zip(tensors, needed)]
    out = function(*tensors)
    wanted = [t for t in tensors if t.requires_grad]
    found = torch.autograd.grad(out.square().sum(), wanted, create_graph=order == 2)
    if order == 2:
        total = sum(g.square().sum() for g in found)
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    return found


def check_gradients(functions_, tensors, choices):
    """Of all, and of some that are needed; of the second order, too."""
    plain, *others = functions_
    for needed, order in [*product(choices, [1]), (choices[0], 2)]:
        expected = gradients(plain, [t.double() for t in tensors], needed, order)
        for other in others[:3 - order]:  # operators have no second derivative
            for own, wide in zip(gradients(other, tensors, needed, order), expected):
                assert_close(own.double(), wide, rtol=1e-4, atol=1e-3)


def check_gradients_of_depthwise(outputs, stride):
    def plain(x, kernel, bias):
        return F.conv2d(x, kernel, bias, stride, 3, 1, 4)

    def eager(*tensors):
        return convolution._Depthwise.apply(*tensors, stride)

    def compiled(*tensors):
        return torch.ops.mmfastvit.triton_depthwise(*tensors, list(stride))

    check_gradients([plain, eager, compiled], [
        tensor(1, 4, 6, 5), torch.randn(outputs, 1, 7, 7) / 7, torch.randn(outputs)], [
        (True, True, True), (False, True, False), (True, False, False)])


def check_gradients_of_feed_forward():
    x = tensor(1, 4, 6, 5)
    check_gradients([
        lambda x, kernel_1, bias_1, kernel_2, bias_2: functions.feed_forward.plain(
            x, kernel_1[..., None, None], bias_1, kernel_2[..., None, None], bias_2),
        feed_forward._FeedForward.apply, torch.ops.mmfastvit.triton_feed_forward,
    ], [x, *(torch.randn(shape) / 2 for shape in ((8, 4), (8, ), (4, 8), (4, )))], [
        (True, ) * 5, (True, False, False, False, False),
        (False, True, False, True, False)])


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
    depthwise.ROWS_OF_A_SUM = 3  # several sums, the last of fewer rows
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
    check_stem()
    check_gradients_of_depthwise(8, (2, 2))
    check_gradients_of_depthwise(4, (1, 1))
    check_gradients_of_feed_forward()
    check_operators()
    print('all kernels agree')
