"""Hard distillation: the teacher's prediction is a second label."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope, init_default_scope
from torch.testing import assert_close

from helpers import randomize
from mmfastvit import ArgumentError, CheckpointError


@pytest.fixture
def build_distilled():
    """Return a builder of a small student with a teacher."""
    init_default_scope('mmpretrain')
    from mmengine.registry import MODELS

    import mmfastvit.models.classifiers.distilled  # noqa: F401
    yield lambda teacher={}, **kwargs: MODELS.build(dict(
        type='DistilledImageClassifier',
        teacher=teacher if 'type' in teacher else dict(
            type='TimmClassifier', model_name='resnet10t', num_classes=5, **teacher),
        backbone=dict(type='FastViT', arch='t8', out_indices=(3,),
                      out_norm_cfg=None),
        neck=dict(type='FastViTNeck', in_channels=384),
        head=dict(type='LinearClsHead', in_channels=768, num_classes=5), **kwargs))
    DefaultScope._instance_dict.clear()


def test_loss_is_both_shares(build_distilled):
    from mmpretrain.structures import DataSample
    model = build_distilled(distillation_weight=0.3).eval()
    x = torch.rand(3, 3, 64, 64)
    labels = torch.tensor([0, 3, 1])
    losses = model(x, [DataSample().set_gt_label(i) for i in labels], mode='loss')
    logits, teacher = model(x, mode='tensor'), model.teacher(x, mode='tensor')
    assert_close(losses['loss'], 0.7 * F.cross_entropy(logits, labels))
    assert_close(losses['loss_distillation'],
                 0.3 * F.cross_entropy(logits, teacher.argmax(1)))


def test_the_teacher_is_neither_trained_nor_saved(build_distilled):
    from mmpretrain.structures import DataSample
    model = build_distilled().train()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    losses = model(torch.rand(2, 3, 64, 64),
                   [DataSample().set_gt_label(i) for i in range(2)], mode='loss')
    sum(losses.values()).backward()
    assert not model.teacher.training
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.parameters())
    for name, value in model.teacher.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)
    assert not any('teacher' in name for name in model.state_dict())


def test_bad_share(build_distilled):
    with pytest.raises(ArgumentError, match='from 0 to 1'):
        build_distilled(distillation_weight=2.)


OWN = dict(type='ImageClassifier',
           backbone=dict(type='FastViT', arch='t8', out_indices=(3,),
                         out_norm_cfg=None),
           neck=dict(type='FastViTNeck', in_channels=384),
           head=dict(type='LinearClsHead', in_channels=768, num_classes=5))


@pytest.mark.parametrize('part', ['whole', 'prefix', 'backbone'])
@pytest.mark.parametrize('kind', ['timm', 'ours'])
def test_the_teacher_s_checkpoint_is_loaded(build_distilled, tmp_path, kind, part):
    if (kind, part) == ('timm', 'backbone'):
        pytest.skip('is no part of its own')
    teacher = OWN if kind == 'ours' else {}
    source = randomize(build_distilled(teacher=teacher).teacher)
    weights = source.state_dict()
    if part == 'prefix':
        weights = {f'student.{name}': value for name, value in weights.items()}
    torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'teacher.pth'))
    if part == 'backbone':
        teacher = dict(teacher, backbone=dict(teacher['backbone'], init_cfg=init_cfg))
    else:
        teacher = dict(teacher, init_cfg=[dict(
            init_cfg, **(dict(prefix='student') if part == 'prefix' else {}))])
    model = build_distilled(teacher=teacher)
    model.init_weights()
    if part == 'backbone':
        model, source = model.teacher.backbone, source.backbone
        assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
        return
    assert_close(model.teacher.state_dict(), source.state_dict(), rtol=0, atol=0)
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert not model.teacher.training


def test_a_teacher_that_asks_for_nothing_stays(build_distilled):
    model = build_distilled()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.init_weights()
    assert_close(model.teacher.state_dict(), before, rtol=0, atol=0)


def test_another_network_is_no_teacher(build_distilled, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'fc.weight': torch.rand(5, 3)}, path)
    model = build_distilled(teacher=dict(
        init_cfg=dict(type='Pretrained', checkpoint=str(path))))
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    with pytest.raises(CheckpointError, match='does not fit the teacher'):
        model.init_weights()
    assert_close(model.teacher.state_dict(), before, rtol=0, atol=0)
