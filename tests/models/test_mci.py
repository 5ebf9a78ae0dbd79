"""MCi0 to MCi4 and FastViTHD: Apple's outputs, counts, and every published name."""
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from helpers import (
    MCI3_KIND,
    assert_outputs_close,
    build,
    build_timm,
    load_case,
    relative_error,
    timm_features,
    twin_of,
)
from mmfastvit import (
    VARIANTS,
    ArgumentError,
    FastViT,
    FastViTNeck,
    convert_state_dict,
    reparameterize,
)
from mmfastvit.models.layers import LayerNormLinear
from mmfastvit.models.reparam import run_branches

# With the projection, as timm counts it; and of it stem and stages alone.
PARAMETERS = {
    'mci0': (11_406_976, 10_735_680), 'mci1': (21_541_632, 20_870_336),
    'mci2': (35_815_232, 34_935_280), 'mci3': (125_235_648, 121_649_664),
    'mci4': (321_784_832, 316_479_488),
}
FOUR_STAGES = {'mci3': 62_301_696, 'mci4': 110_221_312}
EXPANSION = {'mci0': 146_496, 'mci1': 146_496, 'mci2': 224_080, 'mci3': 1_225_920,
             'mci4': 2_158_848}


def encoder(weights, arch, deploy=False):
    """Return backbone and neck of an image encoder, filled."""
    variant = VARIANTS[arch]
    backbone = FastViT(arch, out_indices=range(len(variant.depths)), out_norm_cfg=None,
                       deploy=deploy)
    neck = FastViTNeck(variant.embed_dims[-1], embedding_dims=variant.embedding_dims,
                       deploy=deploy)
    model = nn.ModuleDict(dict(backbone=backbone, neck=neck))
    model.load_state_dict(weights)
    return model.double().eval()


def outputs(model, x):
    with torch.no_grad():
        features = model['backbone'](x)
        return [*features, model['neck'].expand(features[-1]),
                *model['neck'](features)]


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize('size', ['256x256', '224x320'])
def test_mci0_is_apple_s(size, reference, fill):
    apple, golden = load_case('mci0', reference, fill)
    model = encoder(convert_state_dict(apple, classifier=True), 'mci0')
    x = torch.from_numpy(fill.image(*map(int, size.split('x')))).double()
    for form in (model, reparameterize(model)):
        found = outputs(form, x)
        found[0] = found[0][..., ::2, ::2]
        names = [*(f'stage{i + 1}' for i in range(4)), 'expanded', 'embedding']
        for name, actual in zip(names, found, strict=True):
            expected = torch.from_numpy(golden[f'{size}_{name}']).double()
            assert actual.shape == expected.shape
            assert relative_error(actual, expected) < 1e-7, name


def test_fastvithd_is_apple_s(reference, fill):
    """Published re-parameterized, with the layer norms' affine parts unfolded."""
    table = json.loads((reference / 'fastvit_fastvithd.json').read_text())
    golden = np.load(reference / 'fastvit_fastvithd.npz')
    keys = table.get('reparam') or table.get('fused') or table
    apple = {k: torch.from_numpy(v) for k, v in fill.fill_all(keys).items()}
    model = encoder(convert_state_dict(apple, classifier=True), 'fastvithd', True)
    found = outputs(model, torch.from_numpy(fill.image(256, 256)).double())
    found[0] = found[0][..., ::2, ::2]
    names = [*(f'stage{i + 1}' for i in range(5)), 'expanded', 'embedding']
    for name, actual in zip(names, found, strict=True):
        expected = torch.from_numpy(golden[f'256x256_{name}']).double()
        actual = actual if name == 'embedding' else actual[:, ::4]
        assert actual.shape == expected.shape
        assert relative_error(actual, expected) < 1e-7, name


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameter_counts(arch):
    variant = VARIANTS[arch]
    stages, width = len(variant.depths), variant.embed_dims[-1]
    with torch.device('meta'):
        backbone = FastViT(arch, out_indices=range(stages), out_norm_cfg=None)
        neck = FastViTNeck(width, embedding_dims=variant.embedding_dims)
        dense = FastViT(arch, out_norm_cfg=None)
    assert (count(backbone, neck), count(backbone)) == PARAMETERS[arch]
    assert count(neck) - count(neck.proj) == EXPANSION[arch]
    # A fifth stage is built only where it is asked for.
    assert count(dense) == FOUR_STAGES.get(arch, PARAMETERS[arch][1])


@pytest.mark.parametrize('arch', ['mci0', MCI3_KIND], ids=['mci0', 'mci3 kind'])
def test_nothing_is_left_to_fold(arch):
    model = build(arch, double=False, out_norm_cfg=None)
    deployed = reparameterize(model)
    assert not [part for part in deployed.modules()
                if isinstance(part, (_BatchNorm, nn.LayerNorm))]
    assert {name.rpartition('.')[2] for name in deployed.state_dict()} == {
        'weight', 'bias'}
    assert not [name for name in deployed.state_dict() if 'layer_scale' in name]


@pytest.mark.parametrize('training', [False, True])
def test_five_stages_in_every_form(training):
    model = build(MCI3_KIND, out_indices=range(5), out_norm_cfg=None).train(training)
    assert model.strides == (4, 8, 16, 32, 64)
    x = torch.randn(2, 3, 130, 97, dtype=torch.float64)
    found = model(x)
    assert [f.shape[2:] for f in found] == [
        (-(-130 // s), -(-97 // s)) for s in model.strides]
    sum((f * f).mean() for f in found).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0
               for p in model.parameters())
    with run_branches(model):
        assert_outputs_close(found, model(x), 1e-9)
    if not training:
        assert_outputs_close(reparameterize(model)(x), found, 1e-9)


@pytest.mark.skipif(not hasattr(torch, 'autocast'), reason='needs autocast')
def test_statistics_are_float32_under_autocast():
    layer = LayerNormLinear(64, 8).eval()
    x = torch.randn(1, 5, 64) + 1000.  # bfloat16 would lose all of it
    for form in (layer, reparameterize(layer)):
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            actual = form(x)
        assert actual.dtype == torch.bfloat16
        assert relative_error(actual.float(), layer(x)) < 0.02


def test_a_layer_norm_of_another_kind_is_not_folded():
    layer = LayerNormLinear(8, 8).double()
    layer.norm = nn.LayerNorm(8, eps=0.5).double()
    x = torch.randn(1, 3, 8, dtype=torch.float64)
    expected = layer.linear(layer.norm(x))
    for form in (layer, reparameterize(layer)):
        assert relative_error(form(x), expected) < 1e-12
    layer.norm = nn.Identity()
    assert relative_error(layer(x), layer.linear(x)) < 1e-12
    for fold in (reparameterize, LayerNormLinear.switch_to_deploy):
        with pytest.raises(ArgumentError, match='norm is Identity'):
            fold(layer)


def test_a_plain_convolution_in_downsampling():
    model = build('mci0').eval()
    downsample = model.stages[2].downsample
    downsample[1] = nn.Conv2d(256, 256, 1).double()
    x = torch.randn(1, 128, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = F.gelu(downsample[1](F.gelu(downsample.se(downsample[0](x)))))
        assert relative_error(downsample(x), expected) < 1e-12


def names_of_apple(timm_weights):
    """Return timm's unfused names of a five-stage network as Apple's."""
    found = {}
    for name, value in timm_weights.items():
        name = re.sub(r'^stem\.', 'patch_embed.', name)
        match = re.match(r'^stages\.(\d)\.(downsample|pos_emb|blocks\.(\d+))\.', name)
        if match:
            stage = int(match[1])
            place = {'downsample': 2 * stage - 1 + (stage == 4),
                     'pos_emb': 2 * stage + (stage == 4)}.get(match[2])
            if place is None:
                place = f'{2 * stage + (stage > 2) + (stage == 4)}.{match[3]}'
            name = f'network.{place}.{name[match.end():]}'
        for timm, apple in (
                ('pos_enc', 'pe'), ('conv_kxk', 'rbr_conv'), ('mlp', 'convffn'),
                ('conv_scale', 'rbr_scale'), ('identity', 'rbr_skip'),
                ('large_conv', 'lkb_origin'), ('final_conv', 'conv_exp')):
            name = name.replace(f'.{timm}.', f'.{apple}.') if '.' in name else name
            name = re.sub(rf'^{timm}\.', f'{apple}.', name)
        name = re.sub(r'\.layer_scale(_\d)?\.gamma$', r'.layer_scale\1', name)
        if name.startswith('conv_exp.se.'):
            name = name.replace('fc1', 'reduce').replace('fc2', 'expand')
        if name == 'head.fc.bias':
            assert not value.any()
            continue
        if name == 'head.fc.weight':
            name, value = 'head.proj', value.t()
        found[name] = value
    return found


@pytest.mark.parametrize('prefix, owner', [
    ('image_encoder.model.', 'apple'), ('', 'apple'), ('', 'timm'),
    ('module.visual.trunk.', 'timm'), ('visual.trunk.', 'timm'),
    ('model.vision_tower.vision_tower.model.', 'apple'),
    ('model.vision_tower.timm_model.', 'timm')])
def test_one_network_under_every_name(prefix, owner):
    peer = build_timm(MCI3_KIND).eval()
    peer.head.fc.bias.data.zero_()
    expected = twin_of(peer, MCI3_KIND).state_dict()
    weights = peer.state_dict()
    if owner == 'apple':
        weights = names_of_apple(weights)
    weights = {f'{prefix}{name}': value for name, value in weights.items()}
    if prefix:  # the whole model is in the file
        weights |= {'text_encoder.x': torch.zeros(1), 'logit_scale': torch.zeros(1)}
    found = convert_state_dict(weights)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_fused_names_of_fastvlm():
    """Where timm's own filter fails: position encodings and large kernels."""
    from timm.utils.model import reparameterize_model
    peer = build_timm(MCI3_KIND).eval()
    x = torch.randn(1, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = timm_features(peer, x)
    fused = {}
    for name, value in reparameterize_model(peer).state_dict().items():
        name = re.sub(r'^stages\.([34])\.pos_emb\.', lambda match: (
            f'network.{6 if match[1] == "3" else 9}.'), name)
        fused[name] = value
    fused = names_of_apple(fused | {'head.fc.bias': torch.zeros(24)})
    fused = {re.sub(r'(network\.\d\.proj\.0)\.reparam_conv', r'\1.lkb_reparam', name):
             value for name, value in fused.items()}
    model = FastViT(MCI3_KIND, out_indices=range(5), out_norm_cfg=None,
                    deploy=True).double()
    model.load_state_dict(convert_state_dict(fused))
    with torch.no_grad():
        assert_outputs_close(model(x), expected, 1e-9)
