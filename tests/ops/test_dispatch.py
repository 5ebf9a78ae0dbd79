"""Every function's faster forms equal its plain form, and stand aside where needed."""
import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from helpers import build
from mmfastvit import ops, reparameterize
from mmfastvit.ops.cpu import strips
from mmfastvit.ops.dispatch import runs_plain

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def maps(*shape, layout=torch.channels_last):
    return torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)


def tensor(*shape):
    return torch.randn(shape, dtype=torch.float64)


def weigh(moments, parameters):
    """Depend on moments and parameters in a way of which nothing is linear."""
    factor, = parameters
    scales = [(var + 1).rsqrt() * (2 + mean) * factor**2 for mean, var in moments]
    return sum(scales), scales, [mean.detach() for mean, _ in moments]


# Of each function: what it is called with, tensors first.
CASES = {
    'gelu': lambda layout: (ops.gelu, [maps(2, 8, 5, 6, layout=layout)], ()),
    'add': lambda layout: (ops.add, [maps(2, 8, 5, 6, layout=layout)
                                     for _ in range(2)], ()),
    'conv2d, depthwise 7x7': lambda layout: (
        ops.conv2d, [maps(2, 8, 9, 8, layout=layout), tensor(8, 1, 7, 7), tensor(8)],
        ((1, 1), (3, 3), (1, 1), 8)),
    'conv2d, depthwise of two': lambda layout: (
        ops.conv2d, [maps(2, 8, 9, 8, layout=layout), tensor(16, 1, 3, 3), tensor(16)],
        ((2, 2), (1, 1), (1, 1), 8)),
    'conv2d, dense': lambda layout: (
        ops.conv2d, [maps(2, 8, 9, 8, layout=layout), tensor(4, 8, 3, 3), tensor(4)],
        ((1, 1), (2, 2), (2, 2), 1)),
    'gelu_conv2d': lambda layout: (
        ops.gelu_conv2d, [maps(2, 8, 9, 8, layout=layout), tensor(4, 8, 3, 3),
                          tensor(4)], ((2, 2), (1, 1))),
    'linear': lambda layout: (ops.linear, [tensor(2, 7, 8), tensor(4, 8), tensor(4)],
                              ()),
    'feed_forward': lambda layout: (
        ops.feed_forward, [maps(2, 8, 5, 6, layout=layout), tensor(12, 8, 1, 1),
                           tensor(12), tensor(6, 12, 1, 1), tensor(6)], ()),
    'mlp': lambda layout: (
        ops.mlp, [tensor(3, 7, 8), tensor(12, 8), tensor(12), tensor(6, 12),
                  tensor(6)], ()),
    'attention': lambda layout: (
        ops.attention, [tensor(3, 2, 5, 4) for _ in range(3)] + [tensor(2, 5, 5)], ()),
    'to_windows': lambda layout: (
        ops.to_windows, [maps(2, 8, 7, 9, layout=layout)], (4, )),
    'from_windows': lambda layout: (
        ops.from_windows, [tensor(12, 16, 8)], (4, (2, 8, 7, 9))),
    'pick': lambda layout: (ops.pick, [maps(2, 8, 5, 6, layout=layout)], ((2, 3),)),
    'moments': lambda layout: (
        lambda x: torch.cat(ops.moments(x)), [maps(2, 8, 5, 6, layout=layout)], ()),
    'sum_by_moments': lambda layout: (
        # One map is made of the other, as a skip's is.
        lambda x, factor: ops.sum_by_moments([x, x.sin() * factor[:, None, None]],
                                             weigh, [factor]),
        [maps(2, 8, 5, 6, layout=layout), tensor(8)], ()),
    'stem_maps': lambda layout: (
        lambda *kernels: torch.cat(ops.stem_maps(
            torch.linspace(-1, 1, 1056).double().view(2, 3, 22, 8).contiguous(
                memory_format=layout), 'gelu', *kernels, True), 1),
        [tensor(4, 3, 3, 3), tensor(4), tensor(4, 1, 3, 3)], ()),
    **{f'conv_stem, {act}': lambda layout, act=act: (
        lambda *parameters: ops.conv_stem(
            torch.linspace(-1, 1, 576).double().view(2, 3, 12, 8).contiguous(
                memory_format=layout), act, (2, 2, 1), parameters),
        [tensor(4, 3, 3, 3), tensor(4), tensor(4, 1, 3, 3), tensor(4),
         tensor(6, 4, 1, 1), tensor(6)], ()) for act in ('gelu', 'relu')},
}


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    monkeypatch.setattr(strips, 'STRIP', 100)
    return lambda layout=torch.channels_last: CASES[request.param](layout)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_form_equals_the_plain_one(case, layout):
    function, tensors, options = case(layout)
    tensors = [x.requires_grad_() for x in tensors]
    out = function(*tensors, *options)
    with ops.plain():
        expected = function(*tensors, *options)
        assert 'Backward0' in type(expected.grad_fn).__name__  # PyTorch's own
    assert_close(out, expected)
    direction = torch.randn_like(expected)
    assert_close(torch.autograd.grad(out, tensors, direction),
                 torch.autograd.grad(expected, tensors, direction))
    before = [x.detach().clone() for x in tensors]
    with torch.no_grad():
        assert_close(function(*tensors, *options), expected)
    assert_close(tensors, before, rtol=0, atol=0)  # nothing was overwritten


def test_second_derivatives(case):
    function, tensors, options = case()
    tensors = [x.requires_grad_() for x in tensors]

    def twice():
        first = torch.autograd.grad(function(*tensors, *options).square().sum(),
                                    tensors, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), tensors,
                                   allow_unused=True)

    actual = twice()
    with ops.plain():
        assert_close(actual, twice())


def test_gradients_of_gradients_are_right():
    """Against finite differences, which know nothing of either form."""
    x, kernel, bias = maps(1, 4, 5, 4), tensor(4, 1, 3, 3), tensor(4)
    assert torch.autograd.gradgradcheck(
        lambda *t: ops.conv2d(*t, (1, 1), (1, 1), (1, 1), 4),
        [t.requires_grad_() for t in (x, kernel, bias)])
    assert torch.autograd.gradgradcheck(ops.gelu, [x.requires_grad_()])


def test_many_gradients_at_once(case):
    function, tensors, options = case()
    tensors = [x.requires_grad_() for x in tensors]
    out = function(*tensors, *options)
    directions = torch.randn(3, *out.shape, dtype=out.dtype)
    found = torch.autograd.grad(out, tensors, directions, is_grads_batched=True,
                                retain_graph=True)
    for i, direction in enumerate(directions):
        assert_close([g[i] for g in found], list(torch.autograd.grad(
            out, tensors, direction, retain_graph=True)))


def test_a_second_derivative_after_autocast():
    x, kernel = torch.randn(1, 4, 6, 6, requires_grad=True), torch.randn(4, 4, 3, 3)
    with torch.autocast('cpu', torch.bfloat16):
        out = ops.gelu_conv2d(x, kernel, torch.randn(4))
    of_x, = torch.autograd.grad(out.float().square().sum(), x, create_graph=True)
    of_x.square().sum().backward()
    assert x.grad.isfinite().all()


def test_saved_tensors_in_another_format():
    """As save_on_cpu brings them back."""
    function, tensors, options = CASES['feed_forward'](torch.channels_last)
    tensors = [x.requires_grad_() for x in tensors]
    expected = torch.autograd.grad(function(*tensors, *options).sum(), tensors)
    with torch.autograd.graph.saved_tensors_hooks(
            lambda x: x.clone(memory_format=torch.contiguous_format), lambda x: x):
        out = function(*tensors, *options)
    assert_close(torch.autograd.grad(out.sum(), tensors), expected)


def test_arguments_by_name_strided_biases_and_no_pixels():
    x, kernel = maps(2, 8, 9, 8), tensor(16, 1, 3, 3)
    assert_close(ops.conv2d(x, kernel, padding=(1, 1), groups=8),
                 ops.conv2d.plain(x, kernel, padding=(1, 1), groups=8))
    rows, matrix, bias = torch.randn(300, 16), torch.randn(32, 16), torch.randn(64)[::2]
    with torch.no_grad():
        assert_close(ops.linear(rows, matrix, bias=bias),
                     ops.linear.plain(rows, matrix, bias))
        assert ops.linear(rows[:0, None], matrix).shape == (0, 1, 32)
        empty = x[:0]
        assert ops.feed_forward(empty, tensor(12, 8, 1, 1), tensor(12),
                                tensor(8, 12, 1, 1), tensor(8)).shape == empty.shape
        assert ops.conv2d(maps(1, 4, 4, 5)[0], tensor(8, 1, 3, 3), None, (1, 1),
                          (1, 1), (1, 1), 4).shape == (8, 4, 5)
        mixed = ops.add(torch.tensor([1.001]), torch.ones(1).bfloat16(), inplace=True)
    assert mixed.dtype == torch.float32


def test_memory_is_taken_where_it_may_be():
    x, y = maps(2, 8, 5, 6), maps(2, 8, 5, 6)
    with torch.no_grad():
        assert ops.gelu(x, inplace=True) is x
        assert ops.add(x, y, inplace=True) is y
        with ops.plain():
            assert ops.gelu(x, inplace=True) is not x
    with torch.enable_grad():
        assert ops.gelu(x, inplace=True) is not x


@pytest.mark.parametrize('form', ['train', 'eval', 'deploy'])
def test_torch_func_and_forward_mode(form):
    """As timm's network can: per-sample gradients, Jacobians, dual numbers."""
    model = build('t8').eval().to(memory_format=torch.channels_last)
    if form == 'deploy':
        model = reparameterize(model)
    x = maps(3, 3, 32, 32)
    parameters = dict(model.named_parameters())
    model.norm_eval = form == 'train'  # batch statistics have no meaning for one
    model.train(form == 'train')

    def loss(parameters, x):
        return functional_call(model, parameters, (x[None], ))[-1].square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    name = 'stages.0.blocks.0.ffn.fc1.weight'
    for i in range(3):
        model.zero_grad()
        model(x[i:i + 1])[-1].square().sum().backward()
        assert_close(found[name][i], dict(model.named_parameters())[name].grad)
    direction = torch.randn_like(x)
    with forward_ad.dual_level():
        out = model(forward_ad.make_dual(x, direction))[0]
        tangent = forward_ad.unpack_dual(out).tangent
    step = 1e-6
    with torch.no_grad():
        expected = (model(x + step * direction)[0]
                    - model(x - step * direction)[0]) / (2 * step)
    assert_close(tangent, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def attention_in_parts():
    """PyTorch's fused attention has no second derivative on CPUs."""
    torch.backends.cuda.enable_flash_sdp(False)  # CPUs', too
    yield
    torch.backends.cuda.enable_flash_sdp(True)


@pytest.mark.parametrize('training', [True, False])
def test_a_gradient_penalty_of_a_whole_network(training, attention_in_parts):
    model = build('sa12').train(training).to(memory_format=torch.channels_last)
    # In the last stage 32 values a channel: norms of few values amplify rounding.
    x = maps(2, 3, 128, 128).requires_grad_()
    state = {k: v.clone() for k, v in model.state_dict().items()}

    def penalty():
        model.load_state_dict(state)
        model.zero_grad()
        of_x, = torch.autograd.grad(sum(f.square().mean() for f in model(x)), x,
                                    create_graph=True)
        of_x.square().sum().backward()
        return ([p.grad.clone() for p in model.parameters() if p.grad is not None],
                {k: v.clone() for k, v in model.state_dict().items()})

    actual = penalty()
    with ops.plain():
        expected = penalty()
    scale = max(g.abs().max().item() for g in expected[0])
    assert_close(actual[0], expected[0], rtol=1e-8, atol=1e-10 * scale)
    assert_close(actual[1], expected[1])  # running statistics moved once


@pytest.mark.parametrize('training', [True, False])
def test_traced_outside_no_grad(training):
    """How the reference exports; PyTorch's tracer cannot follow our gradients."""
    model = build('t8', double=False).train(training)
    x = torch.randn(2, 3, 64, 64)
    model(x)
    traced = torch.jit.trace(model, x, check_trace=False)
    assert not [node for node in traced.inlined_graph.nodes()
                if node.kind() == 'prim::PythonOp']


def test_the_environment_variable():
    code = 'from mmfastvit.ops.dispatch import runs_plain; print(runs_plain())'
    for value, expected in (('1', 'True'), ('0', 'False')):
        done = subprocess.run(
            [sys.executable, '-c', code], text=True, stdout=subprocess.PIPE, check=True,
            env={'MMFASTVIT_PLAIN': value, 'PATH': ''})
        assert done.stdout.strip() == expected
    assert not runs_plain()
    with ops.plain():
        assert runs_plain()
