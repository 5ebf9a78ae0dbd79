"""``torch.compile`` sees one graph in every form, and computes the same."""
import copy
from contextlib import nullcontext

import pytest
import torch
from torch.testing import assert_close

from helpers import (
    FASTERVIT_KIND,
    MCI3_KIND,
    SA12_KIND,
    assert_own_gradients,
    build,
    side_of,
)
from mmfastvit import reparameterize

torch_attention = pytest.importorskip('torch.nn.attention')
pytestmark = pytest.mark.skipif(torch.__version__ < '2.6',
                                reason='its compiler needs torch 2.6')


def run(model, compiled, x):
    """Return the maps, the gradients and the statistics of one step."""
    maps = compiled(x)
    torch.manual_seed(1)
    if any(f.requires_grad for f in maps):
        sum((f * torch.randn_like(f)).sum() for f in maps).backward()
        assert_own_gradients(model)
    return (maps, {n: p.grad for n, p in model.named_parameters()},
            model.state_dict())


KINDS = {'sa12': SA12_KIND, 'mci3': MCI3_KIND, 'fastervit': FASTERVIT_KIND}
QUICK = [('sa12', 'frozen'), ('sa12', 'deploy'), ('mci3', 'eval'),
         ('fastervit', 'live'), ('fastervit', 'deploy')]


@pytest.mark.parametrize('kind, form, backend', [
    pytest.param(kind, form, backend, marks=[pytest.mark.slow] * (
        backend == 'inductor' or (kind, form) not in QUICK))
    for kind in KINDS for form in ('live', 'frozen', 'eval', 'deploy')
    for backend in ('aot_eager', 'inductor')])
def test_one_graph(kind, form, backend):
    options = dict(drop_path_rate=0.) if kind == 'fastervit' else {}
    model = build(KINDS[kind], **options).train(form in ('live', 'frozen'))
    if form == 'frozen':
        model.norm_eval = True
        model.train()
    if form == 'deploy':
        model = reparameterize(model)
    twin = copy.deepcopy(model)
    side = side_of(KINDS[kind])
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch._dynamo.reset()
    # Of its fused attention in float64, torch 2.11 tells inductor a wrong dtype
    # (float32 for the log of sums, which is float64), and reads memory as such.
    attention = nullcontext() if backend != 'inductor' else \
        torch_attention.sdpa_kernel(torch_attention.SDPBackend.MATH)
    with attention, torch.set_grad_enabled(form in ('live', 'frozen')):
        expected = run(model, model, x)
        actual = run(twin, torch.compile(twin, fullgraph=True, backend=backend), x)
    assert_close(actual, expected, rtol=1e-9, atol=1e-9)
