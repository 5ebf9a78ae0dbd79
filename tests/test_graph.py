"""What an exporter sees of the deploy form."""
from collections import Counter

import pytest
import torch

from helpers import ALL
from mmfastvit import VARIANTS, FastViT, reparameterize


def count_operators(arch, size=64):
    import onnx  # noqa: F401, torch's exporter needs it
    model = reparameterize(FastViT(arch, out_norm_cfg=None).eval())
    program = torch.onnx.export(model, (torch.rand(1, 3, size, size),),
                                dynamo=True, verbose=False)
    return Counter(node.op_type for node in program.model_proto.graph.node)


@pytest.mark.parametrize('arch', ['sa12', 't8'])
def test_operators_of_the_exported_graph(arch):
    """SA12: 56 convolutions, 18 GELUs, 14 additions, and no norm."""
    variant = VARIANTS[arch]
    repmixer_blocks = sum(
        depth for depth, mixer in zip(variant.depths, variant.token_mixers)
        if mixer == 'repmixer')
    attention_blocks = sum(variant.depths) - repmixer_blocks
    counts = count_operators(arch)
    # Stem and three downsamplings; RepMixer and ConvFFN; position encoding.
    assert counts['Conv'] == 3 + 6 + 4 * repmixer_blocks \
        + 3 * attention_blocks + ('attention' in variant.token_mixers)
    assert counts['Gelu'] == 3 + 3 + sum(variant.depths)
    # ConvFFN's residual; attention's residual, and the biases of qkv and proj.
    biases = 2 * attention_blocks if counts['MatMul'] else 0
    assert counts['Add'] - biases == repmixer_blocks + 2 * attention_blocks
    if arch == 'sa12':
        assert (counts['Conv'], counts['Gelu'],
                counts['Add'] - biases) == (56, 18, 14)
    assert not {'BatchNormalization'} & set(counts)


@pytest.mark.parametrize('arch', ALL)
def test_modules_of_the_deploy_form(arch):
    variant = VARIANTS[arch]
    attention = sum(d for d, m in zip(variant.depths, variant.token_mixers)
                    if m == 'attention')
    model = reparameterize(FastViT(arch, out_norm_cfg=None))
    kinds = Counter(type(m) for m in model.modules())
    assert kinds[torch.nn.Linear] == 2 * attention
    assert kinds[torch.nn.BatchNorm2d] == 0
    assert kinds[torch.nn.Conv2d] == 9 + 4 * sum(variant.depths) \
        - attention + (attention > 0)
