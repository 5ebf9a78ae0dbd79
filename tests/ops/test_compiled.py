"""Faster forms within ``torch.compile``: operators that the compiler keeps."""
import pytest
import torch
from test_dispatch import CASES
from torch.testing import assert_close

from mmfastvit import ops
from mmfastvit.ops.cpu import strips
from mmfastvit.ops.library import HAS_LIBRARY

pytestmark = pytest.mark.skipif(not HAS_LIBRARY or torch.__version__ < '2.7',
                                reason='operators and exports look alike before')
# Of the functions that have some, the operators that are kept.
OPERATORS = {
    'feed_forward': ['feed_forward'], 'mlp': ['feed_forward'],
    'conv2d, depthwise 7x7': ['depthwise'], 'moments': ['batch_moments'],
    'sum_by_moments': ['batch_moments'] * 2,
    'conv_stem, gelu': ['conv_stem_in_strips'],
    'stem_maps': ['live_stem'],
    'conv_stem, relu': ['conv_stem_in_strips']}


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    monkeypatch.setattr(strips, 'STRIP', 100)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def operators_in(function, *args):
    """Return the names of our operators in the one graph of a function."""
    found = []

    def note(module, _):
        found.extend(node.target.__name__.split('.')[0] for node in module.graph.nodes
                     if str(node.target).startswith('mmfastvit.'))
        return module

    torch.compile(function, backend=note, fullgraph=True)(*args)
    torch._dynamo.reset()
    return found


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('name', CASES)
def test_numbers_and_gradients(name, layout):
    function, tensors, options = CASES[name](layout)
    tensors = [x.requires_grad_() for x in tensors]
    compiled = torch.compile(lambda *t: function(*t, *options) + 0, fullgraph=True,
                             backend='aot_eager')
    with ops.plain():
        expected = function(*tensors, *options)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, tensors, direction)
    out = compiled(*tensors)
    assert_close(out, expected)
    assert_close(torch.autograd.grad(out, tensors, direction), gradients)
    with torch.no_grad():
        assert_close(compiled(*tensors), expected)


@pytest.mark.parametrize('name', OPERATORS)
def test_operators_are_kept_but_in_exports_and_on_request(name):
    function, tensors, options = CASES[name](torch.channels_last)

    def run(*tensors):
        return function(*tensors, *options)

    tensors = [x.requires_grad_() for x in tensors]
    assert operators_in(run, *tensors) == OPERATORS[name]
    with ops.plain():
        assert operators_in(run, *tensors) == []
    with torch.autocast('cpu', torch.bfloat16):  # chooses other dtypes
        assert set(operators_in(run, *tensors)) <= {'batch_moments'}

    class Module(torch.nn.Module):
        def forward(self, *tensors):
            return run(*tensors)

    for strict in (True, False):
        program = torch.export.export(Module(), tuple(tensors), strict=strict)
        assert 'mmfastvit' not in str(program.graph)


@torch.no_grad()
def test_linear_maps_without_gradients():
    function, tensors, _ = CASES['linear'](torch.contiguous_format)
    assert operators_in(function, *tensors) == ['linear_of_rows']


@pytest.mark.parametrize('keeps', [True, False])
def test_what_pytorch_asks_of_operators(keeps):
    """Fake shapes and strides, gradients, no aliases."""
    def tensor(*shape):
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def maps(*shape):
        x = torch.randn(shape, dtype=torch.float64)
        return x.contiguous(memory_format=torch.channels_last)

    check = torch.library.opcheck
    own = torch.ops.mmfastvit
    x = maps(2, 8, 9, 8).requires_grad_()
    check(own.feed_forward, (keeps, x, tensor(12, 8), tensor(12), tensor(6, 12),
                             tensor(6)))
    check(own.depthwise, (x, tensor(8, 1, 7, 7), tensor(8) if keeps else None, [3, 3]))
    check(own.batch_moments, (x, ))
    check(own.linear_of_rows, (torch.randn(3, 8), torch.randn(4, 8),
                               torch.randn(4) if keeps else None))
    check(own.conv_stem_in_strips, (
        maps(2, 3, 13, 10), 'gelu' if keeps else 'relu', [2, 2, 1],
        [tensor(4, 3, 3, 3), tensor(4), tensor(4, 1, 3, 3), tensor(4),
         tensor(6, 4, 1, 1), tensor(6)]))
