"""Parity with timm's independent FastViT, on the same weights."""
import copy

import pytest
import torch
from timm.utils.model import reparameterize_model
from torch.testing import assert_close

from helpers import (
    ALL,
    FASTVIT,
    MCI3_KIND,
    SA12_KIND,
    assert_outputs_close,
    build_timm,
    timm_features,
    twin_of,
)
from mmfastvit import FastViT, FastViTNeck, convert_state_dict, reparameterize

SIZE = (64, 96)


@pytest.mark.parametrize('arch', [*ALL, pytest.param(MCI3_KIND, id='mci3 kind')])
def test_features_in_every_form(arch):
    peer = build_timm(arch).eval()
    model = twin_of(peer, arch).eval()
    x = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = timm_features(peer, x)
    loaded = FastViT(arch, out_indices=model.out_indices, out_norm_cfg=None,
                     deploy=True).double()
    loaded.load_state_dict(convert_state_dict(
        reparameterize_model(copy.deepcopy(peer)).state_dict()))
    del peer  # MCi4 in float64 has 2.5 GB
    with torch.no_grad():
        for form in (model, reparameterize(model), loaded.eval()):
            assert_outputs_close(form(x), expected, 1e-9)
            assert_outputs_close(form.float()(x.float()),
                                 [e.float() for e in expected], 1e-5)


def test_logits():
    peer = build_timm('sa12').eval()
    weights = convert_state_dict(peer.state_dict(), classifier=True)
    neck = FastViTNeck(512).double().eval()
    neck.load_state_dict({k[5:]: v for k, v in weights.items()
                          if k.startswith('neck.')})
    head = torch.nn.Linear(1024, 7).double()
    head.load_state_dict({k[8:]: v for k, v in weights.items()
                          if k.startswith('head.fc.')})
    x = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        features = twin_of(peer, 'sa12').eval()(x)
        for form in (neck, reparameterize(neck)):
            assert_close(head(form(features)[0]), peer(x), rtol=1e-9,
                         atol=1e-9)


# FastViT's variants have the layers of this kind, more often or without attention.
QUICK = {'sa12 kind': SA12_KIND, 'mci3 kind': MCI3_KIND}
SLOW = {arch: arch for arch in (*FASTVIT, 'mci0', 'mci3')}


@pytest.mark.parametrize('arch, live', [
    pytest.param(arch, live, id=f'{"live" if live else "frozen"}-{name}',
                 marks=[pytest.mark.slow] * (name in SLOW))
    for live in (True, False) for name, arch in (QUICK | SLOW).items()])
def test_twenty_optimiser_steps(arch, live):
    """Same weights, same batches: losses, parameters, statistics agree."""
    peer = build_timm(arch).train(live)
    model = twin_of(peer, arch).train(live)
    # Without a momentum of noise: SGD multiplies gradients, and so rounding,
    # by a fixed factor, where Adam would divide them by their own size.
    networks = [(peer, lambda x: timm_features(peer, x)), (model, model)]
    optimizers = [torch.optim.SGD(n.parameters(), 1e-3, momentum=0.9,
                                  weight_decay=1e-4) for n, _ in networks]
    losses = [], []
    for _ in range(20):
        # A fifth stage of one pixel would leave a batch norm two values.
        x = torch.randn(2, 3, 64, 64 if len(model.stages) < 5 else 128,
                        dtype=torch.float64)
        weights = None
        for (_, forward), optimizer, loss_log in zip(networks, optimizers,
                                                     losses):
            features = forward(x)
            weights = weights or [torch.randn_like(f) for f in features]
            loss = sum(((f - w) ** 2).mean()
                       for f, w in zip(features, weights))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_log.append(loss.item())
    assert losses[0][0] != losses[0][-1]
    assert_close(losses[1], losses[0], rtol=1e-8, atol=0)
    ours, theirs = model.state_dict(), convert_state_dict(peer.state_dict())
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert_close(tensor, theirs[name], rtol=1e-8, atol=1e-8)
