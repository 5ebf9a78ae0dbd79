"""Parity with the reference code: stored outputs on rebuilt weights."""
import json

import pytest
import torch
from torch import nn

from helpers import load_case, relative_error
from mmfastvit import FastViT, FastViTNeck, convert_state_dict, reparameterize

SIZES = ((256, 256), (224, 352))


def classifier(arch, weights):
    backbone = FastViT(arch, out_norm_cfg=None)
    neck = FastViTNeck(backbone.out_channels[-1])
    head = nn.ModuleDict(dict(fc=nn.Linear(2 * backbone.out_channels[-1],
                                           1000)))
    model = nn.ModuleDict(dict(backbone=backbone, neck=neck, head=head))
    model.load_state_dict(weights)
    return model.eval()


@pytest.mark.parametrize('arch', ['t8', 'sa12'])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-7),
                                              (torch.float32, 1e-5)])
def test_stages_and_logits(arch, reference, fill, dtype, tolerance):
    apple, golden = load_case(arch, reference, fill)
    model = classifier(arch, convert_state_dict(apple, classifier=True))
    model = model.to(dtype)
    for form in (model, reparameterize(model)):
        for height, width in SIZES:
            x = torch.from_numpy(fill.image(height, width)).to(dtype)
            with torch.no_grad():
                features = form['backbone'](x)
                logits = form['head']['fc'](form['neck'](features)[0])
            features = [features[0][..., ::2, ::2], *features[1:], logits]
            names = ['stage1', 'stage2', 'stage3', 'stage4', 'logits']
            for name, actual in zip(names, features):
                expected = torch.from_numpy(
                    golden[f'{height}x{width}_{name}'])
                assert actual.shape == expected.shape
                error = relative_error(actual.double(), expected.double())
                assert error < tolerance, (name, height, width)


def test_stage_four_is_not_the_position_encoding(reference, fill):
    """The reference's own pyramid hands out the wrong map for SA12."""
    apple, golden = load_case('sa12', reference, fill)
    model = FastViT('sa12', out_norm_cfg=None).double().eval()
    model.load_state_dict(convert_state_dict(apple))
    seen = []
    model.stages[3].position_encoding.register_forward_hook(
        lambda _, __, out: seen.append(out))
    with torch.no_grad():
        model(torch.from_numpy(fill.image(256, 256)).double())
    expected = torch.from_numpy(golden['256x256_stage4']).double()
    assert relative_error(seen[0], expected) > 0.01


@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_re_parameterized_key_table(arch, reference, fill):
    """Every key of the reference's fused file has a place in ours."""
    table = json.loads((reference / f'fastvit_{arch}.json').read_text())
    fused = {k: torch.from_numpy(v)
             for k, v in fill.fill_all(table['reparam']).items()}
    weights = convert_state_dict(fused, classifier=True)
    backbone = FastViT(arch, out_norm_cfg=None, deploy=True)
    backbone.load_state_dict({k[9:]: v for k, v in weights.items()
                              if k.startswith('backbone.')})
    neck = reparameterize(FastViTNeck(backbone.out_channels[-1]))
    neck.load_state_dict({k[5:]: v for k, v in weights.items()
                          if k.startswith('neck.')})
    assert {k for k in weights if k.startswith('head.')} == {
        'head.fc.weight', 'head.fc.bias'}
