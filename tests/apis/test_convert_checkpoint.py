"""Files of every known format become ours, complete or not at all."""

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from conftest import ROOT
from helpers import build, build_timm, load_case, relative_error
from mmfastvit import ArgumentError, CheckpointError, FastViT
from mmfastvit.apis.convert import convert_checkpoint
from mmfastvit.checkpoints.load import load_pretrained
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import build_runner


@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_apple_s_classifier_gives_the_reference_s_logits(
        arch, reference, fill, tmp_path):
    apple, golden = load_case(arch, reference, fill)
    torch.save(dict(state_dict=apple), tmp_path / 'apple.pth.tar')
    report = convert_checkpoint(tmp_path / 'apple.pth.tar', tmp_path / 'ours.pth',
                                classifier=True)
    assert (report.arch, report.format, report.head) == (
        arch, 'apple', 'classifier of 1000 classes')
    assert not report.left_out
    cfg = load_config(ROOT / 'configs' / f'fastvit_{arch}_in1k.py',
                      work_dir=tmp_path / 'work')
    model = build_runner(cfg).model
    load_weights(model, tmp_path / 'ours.pth')
    for height, width in ((256, 256), (224, 352)):
        x = torch.from_numpy(fill.image(height, width)).float()
        with torch.no_grad():
            logits = model.eval()(x, mode='tensor')
        expected = torch.from_numpy(golden[f'{height}x{width}_logits'])
        assert relative_error(logits, expected) < 1e-5


def test_timm_s_backbone_as_safetensors(tmp_path):
    weights = build_timm('sa12').state_dict()
    torch.save(weights, tmp_path / 'timm.bin')
    report = convert_checkpoint(tmp_path / 'timm.bin', tmp_path / 'sa12.safetensors')
    assert 'FastViT-SA12, train form, under timm\'s names' in str(report)
    assert any(key.startswith('head.') for key in report.left_out)
    model = FastViT('sa12').double()
    load_pretrained(model, tmp_path / 'sa12.safetensors')
    converted = load_file(tmp_path / 'sa12.safetensors')
    for name, value in model.state_dict().items():
        if not name.startswith('out_norms.'):
            assert_close(value, converted[name], rtol=0, atol=0)


def test_a_detector_s_backbone_in_deploy_form(tmp_path):
    model = build('t8', double=False, deploy=True)
    weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    torch.save(dict(weights, **{'neck.lateral.weight': torch.ones(1)}),
               tmp_path / 'detector.pth')
    report = convert_checkpoint(tmp_path / 'detector.pth', tmp_path / 'out.pth')
    assert (report.fused, report.left_out) == (True, ('neck.lateral.weight',))
    converted = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    model.load_state_dict(converted)


@pytest.mark.parametrize('deploy', [False, True])
def test_a_backbone_of_three_maps(tmp_path, deploy):
    model = build('t8', double=False, out_indices=(1, 2, 3), deploy=deploy)
    weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    torch.save(weights, tmp_path / 'retinanet.pth')
    convert_checkpoint(tmp_path / 'retinanet.pth', tmp_path / 'out.safetensors')
    assert_close(load_file(tmp_path / 'out.safetensors'), model.state_dict(),
                 rtol=0, atol=0)


@pytest.mark.parametrize('owner', ['ours', "timm's, re-parameterized"])
def test_the_order_of_keys_means_nothing(tmp_path, owner):
    if owner == 'ours':
        model = build('sa12', double=False)
    else:
        from timm.utils.model import reparameterize_model
        model = reparameterize_model(build_timm('sa12').eval())
    weights = model.state_dict()
    torch.save(weights, tmp_path / 'one.pth')
    torch.save(dict(reversed(weights.items())), tmp_path / 'other.pth')
    found = []
    for name in ('one', 'other'):
        report = convert_checkpoint(tmp_path / f'{name}.pth',
                                    tmp_path / f'{name}.safetensors')
        assert report.arch == 'sa12'
        found.append(load_file(tmp_path / f'{name}.safetensors'))
    assert_close(found[1], found[0], rtol=0, atol=0)


def test_what_is_refused(tmp_path):
    weights = build('t8', double=False, out_norm_cfg=None).state_dict()
    torch.save(weights, tmp_path / 'whole.pth')
    for name, options, error, message in (
            ('out.bin', {}, ArgumentError, 'ends in .safetensors or .pth'),
            ('out.pth', dict(classifier=True), CheckpointError,
             'holds no classifier')):
        with pytest.raises(error, match=message):
            convert_checkpoint(tmp_path / 'whole.pth', tmp_path / name, **options)
    torch.save(dict(weights, **{'out_norms.9.weight': torch.ones(1)}),
               tmp_path / 'more.pth')
    with pytest.raises(CheckpointError, match='1 unexpected: out_norms.9.weight'):
        convert_checkpoint(tmp_path / 'more.pth', tmp_path / 'out.pth')
    del weights['stages.0.blocks.1.ffn.fc2.op.bias']
    torch.save(weights, tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match='no complete FastViT-T8: 1 missing'):
        convert_checkpoint(tmp_path / 'part.pth', tmp_path / 'out.pth')
    del weights['stages.0.blocks.1.ffn.fc1.weight']
    torch.save(weights, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match=r'depths \(1, 2, 4, 2\)'):
        convert_checkpoint(tmp_path / 'odd.pth', tmp_path / 'out.pth')
    assert not list(tmp_path.glob('*out.pth'))


def test_the_source_is_not_replaced(tmp_path):
    model = build('t8', double=False, out_norm_cfg=None)
    path = tmp_path / 'all.pth'
    torch.save(dict(model.state_dict(), **{'neck.lateral.weight': torch.ones(1)}), path)
    before = path.read_bytes()
    (tmp_path / 'link.pth').symlink_to(path)
    for source, out in ((path, path), (path, tmp_path / 'link.pth'),
                        (tmp_path / 'link.pth', path)):
        with pytest.raises(ArgumentError, match='is the source'):
            convert_checkpoint(source, out)
    assert path.read_bytes() == before
