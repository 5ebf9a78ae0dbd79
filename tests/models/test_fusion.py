"""The pure functions, each against the operations it replaces."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from helpers import randomize
from mmfastvit.models.reparam import fusion


def norm(channels, **kwargs):
    return randomize(nn.BatchNorm2d(channels, **kwargs)).double().eval()


def test_fold_norm_after():
    conv = nn.Conv2d(4, 6, 3, padding=1).double()
    bn = norm(6, eps=1e-3)
    x = torch.rand(2, 4, 5, 5, dtype=torch.float64)
    kernel, bias = fusion.fold_norm_after(conv.weight, conv.bias, bn)
    assert_close(F.conv2d(x, kernel, bias, padding=1), bn(conv(x)))


def test_fold_norm_after_without_affine():
    conv = nn.Conv2d(4, 6, 1, bias=False).double()
    bn = norm(6, affine=False)
    x = torch.rand(2, 4, 5, 5, dtype=torch.float64)
    kernel, bias = fusion.fold_norm_after(conv.weight, None, bn)
    assert_close(F.conv2d(x, kernel, bias), bn(conv(x)))


def test_fold_norm_before():
    linear = nn.Linear(4, 6).double()
    bn = norm(4)
    x = torch.rand(2, 4, 5, 1, dtype=torch.float64)
    kernel, bias = fusion.fold_norm_before(linear.weight, linear.bias, bn)
    assert_close(F.linear(x[..., 0].mT, kernel, bias),
                 linear(bn(x)[..., 0].mT))


def test_fold_scale():
    linear = nn.Linear(4, 6).double()
    scale = torch.rand(6, dtype=torch.float64)
    x = torch.rand(2, 4, dtype=torch.float64)
    kernel, bias = fusion.fold_scale(linear.weight, linear.bias, scale)
    assert_close(F.linear(x, kernel, bias), scale * linear(x))


def test_identity_kernel_dense_grouped_and_depthwise():
    for groups in (1, 2, 6):
        x = torch.rand(2, 6, 5, 5)
        kernel = fusion.identity_kernel(torch.empty(6, 6 // groups, 3, 3))
        assert_close(F.conv2d(x, kernel, padding=1, groups=groups), x)


def test_pad_kernel():
    x = torch.rand(2, 4, 5, 5)
    kernel = torch.rand(3, 4, 3, 3)
    padded = fusion.pad_kernel(kernel, 7)
    assert padded.shape == (3, 4, 7, 7)
    assert_close(F.conv2d(x, padded, padding=3), F.conv2d(x, kernel, padding=1))


def test_low_precision_is_folded_in_float32_even_under_autocast():
    conv = nn.Conv2d(4, 6, 1, bias=False).half()
    linear = nn.Linear(4, 6).half()
    bn = norm(6).half()
    bn_before = norm(4).half()
    with torch.autocast('cpu', torch.bfloat16):
        results = [
            *fusion.fold_norm_after(conv.weight, None, bn),
            *fusion.fold_norm_before(linear.weight, linear.bias, bn_before),
            *fusion.fold_scale(linear.weight, linear.bias, bn.weight)]
    assert [r.dtype for r in results] == [torch.float32] * 6
    kernel, bias = fusion.fold_norm_before(
        linear.weight.double(), linear.bias.double(), bn_before.double())
    assert_close(results[2].double(), kernel, rtol=1e-5, atol=1e-6)
    assert_close(results[3].double(), bias, rtol=1e-5, atol=1e-6)
