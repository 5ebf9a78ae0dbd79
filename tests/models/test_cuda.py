"""On a GPU: the numbers of the CPU, in every form and precision."""
import copy

import pytest
import torch
from torch.testing import assert_close

from helpers import (
    FASTERVIT_KIND,
    MCI3_KIND,
    SA12_KIND,
    assert_outputs_close,
    build,
    distance,
    side_of,
)
from mmfastvit import reparameterize

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
KINDS = {'sa12': SA12_KIND, 'mci3': MCI3_KIND, 'fastervit': FASTERVIT_KIND}
LAYOUTS = {'channels_last': torch.channels_last, 'contiguous': torch.contiguous_format}


@pytest.fixture(params=KINDS)
def network(request):
    """A network, without chance, and pictures."""
    arch = KINDS[request.param]
    return (build(arch, drop_path_rate=0.),
            torch.randn(2, 3, side_of(arch), 96, dtype=torch.float64))


def step(model, x):
    """Return maps, gradients and statistics of a step, on the CPU."""
    maps = model(x)
    sum((f * f).mean() for f in maps).backward()
    return ([f.detach().cpu() for f in maps],
            {n: p.grad.cpu() for n, p in model.named_parameters()},
            {n: t.cpu() for n, t in model.named_buffers()})


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('form', ['live', 'frozen'])
def test_a_training_step(network, form, layout):
    model, x = network
    model.norm_eval = form == 'frozen'
    model.train()
    twin = copy.deepcopy(model).to('cuda', memory_format=LAYOUTS[layout])
    assert_close(step(twin, x.to('cuda', memory_format=LAYOUTS[layout])),
                 step(model, x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_inference_in_float32(network, layout, monkeypatch):
    # By default, cuDNN's convolutions of float32 read 10 of 23 bits (TF32).
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    model, x = network
    model.eval()
    with torch.no_grad():
        expected = model(x)
        for form in (model, reparameterize(model)):
            form = copy.deepcopy(form).to('cuda', torch.float32,
                                          memory_format=LAYOUTS[layout])
            maps = form(x.to('cuda', torch.float32, memory_format=LAYOUTS[layout]))
            assert_outputs_close([f.cpu().double() for f in maps], expected, 1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('training', [False, True])
def test_autocast(network, dtype, training):
    model, x = network
    model = model.float().cuda().train(training)
    x = x.float().cuda()
    expected = model(x)
    with torch.autocast('cuda', dtype):
        maps = model(x)
    sum(f.float().square().mean() for f in maps).backward()
    for actual, wanted in zip(maps, expected):
        assert distance(actual.float(), wanted) < 0.05
    assert all(p.grad is not None and p.grad.isfinite().all()
               for p in model.parameters())


@pytest.mark.parametrize('training', [False, True])
def test_compiled(network, training):
    model, x = network
    model = model.cuda().train(training)
    twin, x = copy.deepcopy(model), x.cuda()
    torch._dynamo.reset()
    expected = step(model, x)
    actual = step(torch.compile(twin, fullgraph=True), x)
    names = [{n.removeprefix('_orig_mod.'): t for n, t in part.items()}
             for part in actual[1:]]
    assert_close([actual[0], *names], list(expected), rtol=1e-8, atol=1e-9)
