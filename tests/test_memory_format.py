import pytest
import torch
from torch.testing import assert_close

from helpers import assert_outputs_close, build
from mmfastvit import reparameterize


def test_channels_last_trains_to_the_same_gradients():
    """Also small stems, where oneDNN's own 1x1 stride-2 backward crashes."""
    model = build('sa12', double=False)
    x = torch.randn(8, 3, 128, 128)
    gradients, weights = [], None
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=memory_format)
        model.zero_grad()
        features = model(x.contiguous(memory_format=memory_format))
        if weights is None:
            weights = [torch.randn(f.shape) for f in features]
        sum((f * w).sum() for f, w in zip(features, weights)).backward()
        gradients.append({n: p.grad.double() for n, p in
                          model.named_parameters()})
    # Some gradients are zero but for rounding: a norm's shift before another
    # norm. So differences are held against the largest gradient.
    largest = max(g.abs().max().item() for g in gradients[0].values())
    assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize('deploy', [False, True])
def test_channels_last_gives_the_same_features(deploy):
    model = build('sa12', double=False).eval()
    model = reparameterize(model) if deploy else model
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = model(x)
        model = model.to(memory_format=torch.channels_last)
        actual = model(x.contiguous(memory_format=torch.channels_last))
    assert_outputs_close(actual, expected, 1e-5)
