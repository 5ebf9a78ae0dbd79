"""Layer-wise learning rates, as MMPretrain's constructor gives them out."""
import pytest
from mmengine.registry import DefaultScope, init_default_scope

from helpers import family_of


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('arch, out_indices', [
    ('t8', None), ('sa12', None), ('sa12', (1,)), ('mci0', None),
    ('0', None), ('0', (2,))])
def test_depths_grow_from_stem_to_outputs(arch, out_indices, deploy):
    model = family_of(arch)(arch, out_indices=out_indices, deploy=deploy)
    depths = model.variant.depths[:len(model.stages)]
    last, found = 0, set()
    for name, _ in model.named_parameters():  # in the order of the forward pass
        depth, count = model.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert (depth, count) == model.get_layer_depth(name)
        assert count == sum(depths) + 2
        assert depth in (last, last + 1)
        last = depth
        found.add(depth)
    assert found == set(range(sum(depths) + 2))
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (count - 1, count)
    # What stands before a stage's blocks goes with the first of them.
    assert model.get_layer_depth('stages.1.downsample.0.x') == (depths[0] + 1, count)
    assert model.get_layer_depth('stages.1.blocks.1.x') == (depths[0] + 2, count)


def test_mmpretrain_s_constructor():
    init_default_scope('mmpretrain')
    from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
    from mmpretrain.registry import MODELS
    model = MODELS.build(dict(
        type='ImageClassifier',
        backbone=dict(type='FastViT', arch='t8', out_indices=(3,), out_norm_cfg=None,
                      frozen_stages=0),
        neck=dict(type='FastViTNeck', in_channels=384),
        head=dict(type='LinearClsHead', in_channels=768, num_classes=5)))
    constructor = LearningRateDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1., weight_decay=0.1)),
        dict(layer_decay_rate=0.5))
    groups = constructor(model).optimizer.param_groups
    DefaultScope._instance_dict.clear()
    rates = {group['param_name']: group['lr'] for group in groups}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(rates) == trained and not any('.stem.' in name for name in trained)
    assert rates['head.fc.weight'] == rates['neck.se.reduce.weight'] == 1
    assert rates['backbone.stages.3.blocks.1.ffn.fc1.weight'] == 0.5
    assert rates['backbone.stages.0.blocks.0.ffn.fc1.weight'] == 0.5**10
