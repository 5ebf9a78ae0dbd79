"""One layer, three forms: values, gradients, and what is kept."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import distance, randomize
from mmfastvit import ArgumentError, reparameterize
from mmfastvit.models.fastervit.blocks import BiasedAttention, ConvBlock
from mmfastvit.models.layers import (
    Attention,
    ConvFFN,
    LayerNormLinear,
    LayerScaled,
    Mlp,
    NormLinear,
    RepConv,
    RepCPE,
    RepMixer,
)
from mmfastvit.models.layers.drop_path import DropPath

IMAGE = (2, 32, 6, 5)
TOKENS = (2, 7, 32)


# The branches, written out with PyTorch's own operations.
def plain_rep_conv(layer, x):
    out = sum(branch.norm(branch.conv(x)) for branch in layer.convs)
    return out if layer.skip is None else out + layer.skip(x)


def plain_rep_mixer(layer, x):
    scale = layer.layer_scale[:, None, None]
    return x + scale * (plain_rep_conv(layer.mixer, x) - layer.norm(x))


def plain_rep_cpe(layer, x):
    return x + layer.conv(x)


def plain_norm_linear(layer, x):
    norm = layer.norm
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        mean, var = x.mean((0, 1)), x.var((0, 1), unbiased=False)
        layer.norm(x.mT.unsqueeze(2).detach())  # updates its statistics
    x = (x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    return layer.linear(x)


def plain_layer_norm_linear(layer, x):
    norm = layer.norm
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return layer.linear((x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias)


def plain_layer_scaled(layer, x):
    out = layer.op(x)
    if layer.layer_scale is None:
        return out
    if isinstance(layer.op, nn.Linear):
        return out * layer.layer_scale
    return out * layer.layer_scale[:, None, None]


def plain_mlp(layer, x):
    return plain_layer_scaled(layer.fc2, F.gelu(layer.fc1(x)))


def plain_biased_attention(layer, x):
    b, n, c = x.shape
    q, k, v = (t.reshape(b, n, 4, c // 4).transpose(1, 2)
               for t in layer.qkv(x).chunk(3, -1))
    bias = torch.zeros(4, n, n, dtype=x.dtype)
    bias[:, 1:, 1:] = layer.bias(2, 3)
    weights = (q @ k.mT / (c // 4)**0.5 + bias).softmax(-1)
    return plain_layer_scaled(layer.proj, (weights @ v).transpose(1, 2).flatten(2))


def plain_conv_block(layer, x):
    hidden = F.gelu(plain_rep_conv(layer.conv1, x))
    return x + plain_rep_conv(layer.conv2, hidden)


def plain_conv_ffn(layer, x):
    x = F.gelu(layer.fc1(plain_rep_conv(layer.conv, x)))
    return plain_layer_scaled(layer.fc2, x)


def plain_attention(layer, x):
    b, c, h, w = x.shape
    plain_qkv = plain_norm_linear if hasattr(layer.qkv.norm, 'running_var') \
        else plain_layer_norm_linear
    qkv = plain_qkv(layer.qkv, x.flatten(2).mT)
    q, k, v = (t.reshape(b, h * w, c // 32, 32).transpose(1, 2)
               for t in qkv.chunk(3, -1))
    weights = (q @ k.mT / 32**0.5).softmax(-1)
    out = (weights @ v).transpose(1, 2).reshape(b, h * w, c)
    return plain_layer_scaled(layer.proj, out).mT.reshape(x.shape)


class FixedGrid(BiasedAttention):
    """On one token beside a grid of 2 x 3."""

    def forward(self, x):
        return super().forward(x, (2, 3), 1)


CASES = {
    'mobileone': (lambda: RepConv(32, 32, (3, 1), groups=32, skip=True),
                  plain_rep_conv, IMAGE),
    'mobileone dense, stride 2': (lambda: RepConv(32, 48, (3, 1), stride=2),
                                  plain_rep_conv, IMAGE),
    'mobileone 1x1': (lambda: RepConv(32, 32, (1,), skip=True),
                      plain_rep_conv, IMAGE),
    'large kernel': (lambda: RepConv(32, 64, (7, 3), stride=2, groups=32),
                     plain_rep_conv, IMAGE),
    'repmixer': (lambda: RepMixer(32), plain_rep_mixer, IMAGE),
    'position encoding': (lambda: RepCPE(32), plain_rep_cpe, IMAGE),
    'norm, linear': (lambda: NormLinear(32, 96), plain_norm_linear, TOKENS),
    'layer norm, linear': (lambda: LayerNormLinear(32, 96), plain_layer_norm_linear,
                           TOKENS),
    'scaled conv': (lambda: LayerScaled(nn.Conv2d(32, 16, 1), 1.),
                    plain_layer_scaled, IMAGE),
    'scaled linear': (lambda: LayerScaled(nn.Linear(32, 16), 1.),
                      plain_layer_scaled, TOKENS),
    'linear without scale': (lambda: LayerScaled(nn.Linear(32, 16), None),
                             plain_layer_scaled, TOKENS),
    'mlp': (lambda: Mlp(32, 64, 1.), plain_mlp, TOKENS),
    'biased attention': (lambda: FixedGrid(32, 4, 1.), plain_biased_attention, TOKENS),
    'conv block': (lambda: ConvBlock(32, 0., dict(type='BN')), plain_conv_block, IMAGE),
    'conv ffn': (lambda: ConvFFN(32, 64), plain_conv_ffn, IMAGE),
    'attention': (lambda: Attention(32), plain_attention, IMAGE),
    'attention after a layer norm': (lambda: Attention(32, layer_norm=True),
                                     plain_attention, IMAGE),
}


@pytest.fixture(params=CASES)
def case(request):
    build, plain, shape = CASES[request.param]
    return (randomize(build()).double(), plain,
            torch.randn(shape, dtype=torch.float64))


def value_and_gradients(layer, function, x):
    x = x.clone().requires_grad_()
    out = function(x)
    torch.manual_seed(1)
    (out * torch.randn(out.shape, dtype=out.dtype)).sum().backward()
    gradients = {n: p.grad for n, p in layer.named_parameters()}
    assert all(g is not None for g in gradients.values())
    return out, x.grad, gradients


@pytest.mark.parametrize('training', [True, False])
def test_equals_its_branches_with_all_gradients(case, training):
    layer, plain, x = case
    layer.train(training)
    twin = copy.deepcopy(layer)
    actual = value_and_gradients(layer, layer, x)
    expected = value_and_gradients(twin, lambda x: plain(twin, x), x)
    assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    assert_close(layer.state_dict(), twin.state_dict())  # running statistics


def test_deploy_form_is_equal(case):
    layer, plain, x = case
    layer.eval()
    deployed = reparameterize(layer)
    assert_close(deployed(x), plain(layer, x), rtol=1e-10, atol=1e-10)
    assert not any('norm' in n or 'layer_scale' in n
                   for n in deployed.state_dict())


def test_running_statistics_run_one_operation(case):
    layer, _, x = case
    layer.eval()
    with Operators() as operators:
        layer(x)
    assert not [name for name in operators.names if 'batch_norm' in name]


class Operators(TorchDispatchMode):
    """The names of PyTorch's operators that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16,
                                   torch.float64])
def test_deploy_keeps_dtype_format_mode_and_requires_grad(dtype):
    layer = randomize(RepConv(32, 32, (3, 1), skip=True)).to(dtype)
    layer = layer.to(memory_format=torch.channels_last)
    layer = layer.requires_grad_(False)
    deployed = reparameterize(layer)
    for tensor in deployed.parameters():
        assert tensor.dtype == dtype and not tensor.requires_grad
    assert deployed.fused.weight.is_contiguous(
        memory_format=torch.channels_last)
    assert deployed.fused.training
    assert not reparameterize(layer.eval()).fused.training
    assert reparameterize(
        layer.requires_grad_()).fused.weight.requires_grad


def test_folds_in_float32_before_rounding_to_half():
    layer = randomize(RepMixer(32)).half()
    exact = copy.deepcopy(layer).float().equivalent()[0]
    folded = reparameterize(layer).fused.weight
    assert_close(folded, exact.half(), rtol=0, atol=0)


def test_autocast_runs_the_one_operation_in_low_precision():
    layer = randomize(RepMixer(32)).eval()
    x = torch.randn(IMAGE)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), layer(x), rtol=0.02, atol=0.05)


@pytest.mark.parametrize('make', [
    lambda: RepCPE(32), lambda: RepMixer(32), lambda: ConvFFN(32, 64)])
def test_autocast_may_surround_one_pass(make):
    layer = randomize(make()).eval().to(memory_format=torch.channels_last)
    tensors = [torch.randn(2, 32, 9, 9).contiguous(memory_format=torch.channels_last)
               .requires_grad_(), *layer.parameters()]
    expected = torch.autograd.grad(layer(tensors[0]).sum(), tensors)
    with torch.autocast('cpu', torch.bfloat16):
        low = layer(tensors[0])
    for actual, exact in zip(torch.autograd.grad(low.sum(), tensors), expected):
        assert distance(actual, exact) < 0.05
    out = layer(tensors[0]).sum()
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(torch.autograd.grad(out, tensors), expected, rtol=0, atol=0)


def test_mode_may_flip_in_mid_run():
    layer = randomize(RepMixer(32)).double()
    x = torch.randn(IMAGE, dtype=torch.float64)
    first = layer.eval()(x)
    layer.train()(x)  # changes the running statistics
    second = layer.eval()(x)
    assert not torch.equal(first, second)
    assert_close(second, plain_rep_mixer(layer, x))


def test_other_norms_run_as_branches_and_cannot_be_folded():
    pytest.importorskip('mmcv')
    layer = RepConv(32, 32, (3, 1), groups=32, skip=True,
                    norm_cfg=dict(type='GN', num_groups=4)).eval()
    x = torch.randn(IMAGE)
    assert_close(layer(x), plain_rep_conv(layer, x))
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    with pytest.raises(ArgumentError, match='GroupNorm.*running statistics'):
        reparameterize(layer, inplace=True)
    assert_close(layer.state_dict(), before)


def test_norm_without_running_statistics_cannot_be_folded():
    layer = RepConv(8, 8, (1,), norm_cfg=dict(
        type='BN', track_running_stats=False)).eval()
    x = torch.randn(2, 8, 4, 4)
    assert_close(layer(x), plain_rep_conv(layer, x))
    with pytest.raises(ArgumentError, match='running statistics'):
        reparameterize(layer)


def test_drop_path():
    layer = DropPath(0.25)
    x = torch.ones(4000, 2, 1, 1)
    out = layer(x)
    assert_close(out.unique(), torch.tensor([0., 1 / 0.75]))
    assert_close(out.mean().item(), 1., rtol=0.05, atol=0)
    assert (out[:, 0] == out[:, 1]).all()
    assert layer.eval()(x) is x
