"""The operators of the deploy form, counted in its exported graph."""
from collections import Counter

import pytest
import torch

from helpers import ALL
from mmfastvit import VARIANTS, FastViT, reparameterize

pytestmark = pytest.mark.skipif(
    torch.__version__ < '2.6', reason='torch 2.1\'s export takes linear layers '
    'apart: their biases would count as additions')


def count_operators(model):
    program = torch.export.export(model, (torch.rand(1, 3, 64, 64),))
    return Counter(node.target.overloadpacket.__name__
                   for node in program.graph.nodes
                   if isinstance(node.target, torch._ops.OpOverload))


def test_sa12():
    model = reparameterize(FastViT('sa12', out_norm_cfg=None).eval())
    counts = count_operators(model)
    assert (counts['conv2d'], counts['gelu'], counts['add']) == (56, 18, 14)
    assert (counts['linear'], counts['scaled_dot_product_attention']) == (4, 2)
    # The rest only looks at the same numbers in another shape.
    assert set(counts) == {
        'conv2d', 'gelu', 'add', 'linear', 'scaled_dot_product_attention',
        'flatten', 'transpose', 'view', 'chunk'}


@pytest.mark.parametrize('arch', ALL)
def test_every_variant(arch):
    variant = VARIANTS[arch]
    depths = variant.depths[:4]  # which are built
    attention = sum(depth for depth, mixer in zip(depths, variant.token_mixers)
                    if mixer == 'attention')
    repmixer, squeezes = sum(depths) - attention, len(variant.downsample_se)
    counts = count_operators(reparameterize(
        FastViT(arch, out_norm_cfg=None).eval()))
    # Stem and three downsamplings; RepMixer and ConvFFN; position encoding.
    assert counts['conv2d'] == 3 + 3 * 2 + 4 * repmixer + 3 * attention \
        + (attention > 0) + 2 * squeezes
    assert counts['gelu'] == 3 + 3 + repmixer + attention + 3 * variant.downsample_act
    assert counts['add'] == repmixer + 2 * attention
    assert counts['linear'] == 2 * attention
    # Of the norms, layer norms keep their division, which depends on the picture.
    assert counts['layer_norm'] == attention * (variant.attention_norm == 'LN')
    assert counts['mul'] == squeezes
    assert not [name for name in counts if 'batch_norm' in name]
