"""``torch.compile`` sees one graph in every form, and computes the same."""
import copy

import pytest
import torch
from torch.testing import assert_close

from helpers import build
from mmfastvit import reparameterize

pytestmark = pytest.mark.skipif(torch.__version__ < '2.6',
                                reason='its compiler needs torch 2.6')


def run(model, compiled, x):
    """Return the maps, the gradients and the statistics of one step."""
    maps = compiled(x)
    torch.manual_seed(1)
    if any(f.requires_grad for f in maps):
        sum((f * torch.randn_like(f)).sum() for f in maps).backward()
    return (maps, {n: p.grad for n, p in model.named_parameters()},
            model.state_dict())


@pytest.mark.parametrize('backend', [
    'aot_eager', pytest.param('inductor', marks=pytest.mark.slow)])
@pytest.mark.parametrize('form', ['live', 'frozen', 'eval', 'deploy'])
def test_one_graph(form, backend):
    model = build('sa12').train(form in ('live', 'frozen'))
    if form == 'frozen':
        model.norm_eval = True
        model.train()
    if form == 'deploy':
        model = reparameterize(model)
    twin = copy.deepcopy(model)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch._dynamo.reset()
    with torch.set_grad_enabled(form in ('live', 'frozen')):
        expected = run(model, model, x)
        actual = run(twin, torch.compile(twin, fullgraph=True, backend=backend), x)
    assert_close(actual, expected, rtol=1e-9, atol=1e-9)
