import pytest
import torch
from torch.testing import assert_close

from helpers import FASTVIT
from mmfastvit import (
    VARIANTS,
    ArgumentError,
    FastViT,
    FastViTNeck,
    load_pretrained,
    reparameterize,
)
from mmfastvit.models.fastvit.variants import resolve_arch

# With the 1000-class head: as trained, and as the reference re-parameterizes.
PARAMETERS = {
    't8': (4_026_232, 3_996_040), 't12': (7_553_704, 7_508_840),
    's12': (9_473_576, 9_428_712), 'sa12': (11_580_968, 11_545_320),
    'sa24': (21_554_216, 21_501_288), 'sa36': (31_527_464, 31_457_256),
    'ma36': (44_068_004, 43_984_632),
}


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize('arch', FASTVIT)
def test_parameter_counts(arch):
    backbone = FastViT(arch, out_norm_cfg=None)
    width = backbone.out_channels[-1]
    parts = backbone, FastViTNeck(width), torch.nn.Linear(2 * width, 1000)
    assert count(*parts) == PARAMETERS[arch][0]
    # Our folding goes further than the reference's: of each ConvFFN it takes
    # the norm's scale (C), turning its shift into a bias, and the layer scale
    # (C); of each attention the norm and the layer scale (3C), adding a bias
    # to qkv (3C).
    variant = VARIANTS[arch]
    more = sum(2 * depth * channels for depth, channels
               in zip(variant.depths, variant.embed_dims))
    deployed = [reparameterize(parts[0]), reparameterize(parts[1]), parts[2]]
    assert count(*deployed) == PARAMETERS[arch][1] - more


def test_layer_scales_start_as_in_the_reference():
    for arch in [*FASTVIT, 'mci0']:
        expected = 1e-6 if arch in ('sa36', 'ma36') else 1e-5
        scales = [p for n, p in FastViT(arch).named_parameters()
                  if n.endswith('layer_scale')]
        assert scales and all((p == expected).all() for p in scales)
    model = FastViT('t8', layer_scale_init_value=0.5)
    assert (model.stages[0].blocks[0].token_mixer.layer_scale == 0.5).all()


def test_arch_as_dict():
    arch = dict(depths=[1, 1, 2, 1], embed_dims=[8, 16, 32, 64], mlp_ratio=2,
                token_mixers=['repmixer'] * 2 + ['repmixer', 'attention'])
    model = FastViT(arch)
    assert model.out_channels == (8, 16, 32, 64)
    assert [x.shape[1] for x in model(torch.rand(2, 3, 64, 64))] == [
        8, 16, 32, 64]


@pytest.mark.parametrize('arch, message', [
    ('sa13', 't8, t12, s12, sa12, sa24, sa36, ma36'),
    (dict(depths=(1, 1, 1, 1)), r"lacks \['embed_dims', 'mlp_ratio'"),
    (dict(depths=(1, 1), embed_dims=(8,), mlp_ratio=3,
          token_mixers=('repmixer',) * 2), 'has 1 entries, depths='),
    (dict(depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), mlp_ratio=3,
          token_mixers=('repmixer',) * 3 + ('attention',)), 'heads of 32'),
    (dict(depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), mlp_ratio=3,
          token_mixers=('conv',) * 4), 'repmixer, attention'),
    (dict(depths=(1, 1, 1, 1), embed_dims=(8, 12, 24, 48), mlp_ratio=3,
          token_mixers=('repmixer',) * 4), '12 is no multiple of 8'),
    (dict(depths=(0, 1, 1, 1), embed_dims=(8, 8, 8, 8), mlp_ratio=3,
          token_mixers=('repmixer',) * 4), 'positive integers'),
    (dict(width=3), 'unknown'),
    (dict(depths=4, embed_dims=(8, 8, 8, 8), mlp_ratio=3,
          token_mixers=('repmixer',) * 4), 'one entry for each stage'),
    (dict(depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), mlp_ratio='3',
          token_mixers=('repmixer',) * 4), 'positive number'),
    (dict(VARIANTS['mci3'].__dict__, attention_norm='GN'), 'allowed are BN, LN'),
    (dict(VARIANTS['mci0'].__dict__, downsample_se=(0,)), r'out of \(1, 2, 3\)'),
    (dict(VARIANTS['mci0'].__dict__, downsample_se=2), r'out of \(1, 2, 3\)'),
])
def test_bad_arch(arch, message):
    with pytest.raises(ArgumentError, match=message):
        resolve_arch(arch)


def test_arch_of_another_type():
    with pytest.raises(ArgumentError, match='give a name'):
        resolve_arch(12)


@pytest.mark.parametrize('stages', [3, 5])
def test_other_numbers_of_stages(stages, tmp_path):
    """Features, freezing, folding, weights: nothing takes four for granted."""
    widths = (32, 64, 128, 256, 512)[:stages]
    arch = dict(depths=(1, 1, 2, 1, 1)[:stages], embed_dims=widths, mlp_ratio=2,
                token_mixers=('repmixer', ) * (stages - 1) + ('attention', ))
    model = FastViT(arch, out_indices=range(stages), frozen_stages=stages).eval()
    assert model.strides == (4, 8, 16, 32, 64)[:stages]
    assert model.out_channels == widths
    x = torch.rand(1, 3, 100, 70)
    features = model(x)
    assert [f.shape[1:] for f in features] == [
        (c, -(-100 // s), -(-70 // s)) for c, s in zip(widths, model.strides)]
    assert not any(p.requires_grad for n, p in model.named_parameters()
                   if not n.startswith('out_norms'))
    assert_close(reparameterize(model)(x), features, rtol=1e-4, atol=1e-4)
    dense = FastViT(arch)
    assert dense.out_indices == tuple(range(min(4, stages)))
    torch.save(model.state_dict(), tmp_path / 'own.pth')
    report = load_pretrained(dense, tmp_path / 'own.pth')
    assert bool(report.left_out) == (stages > 4)  # the fifth stage is not built
    with pytest.raises(ArgumentError, match=rf'outside -1…{stages}'):
        FastViT(arch, frozen_stages=stages + 1)
    with pytest.raises(ArgumentError, match=f'out of .*{stages - 1}\\)'):
        FastViT(arch, out_indices=(stages, ))
