"""FasterViT's files: NVIDIA's names, whatever size they were trained at."""
import argparse
import json
import re

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope, init_default_scope

from helpers import FASTERVIT_KIND, build
from mmfastvit import CheckpointError, FasterViT, load_pretrained
from mmfastvit.apis.convert import convert_checkpoint
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.models.fastervit import VARIANTS
from mmfastvit.models.fastervit.key_names import NAMES
from mmfastvit.models.fastervit.published import PUBLISHED
from plain_fastervit import PlainFasterViT


def network(arch='0', **kwargs):
    with torch.device('meta'):
        return FasterViT(arch, **kwargs)


@pytest.fixture
def small():
    """A small network, and the same under NVIDIA's names, with what they cache."""
    model = build(FASTERVIT_KIND, double=False, out_norm_cfg=None).eval()
    plain = PlainFasterViT(model.variant)
    state = plain.state_dict()
    theirs = dict(zip(NAMES.sort(state).backbone, state))
    state = {theirs[name]: value for name, value in model.state_dict().items()}
    pos = 'levels.2.global_tokenizer.to_global_feature.pos.'
    for part in ('weight', 'bias'):
        state[f'levels.2.global_tokenizer.pos_embed.{part}'] = state[pos + part]
    block = 'levels.2.blocks.0.attn.pos_emb_funct.'
    state |= {block + 'relative_bias': torch.full((1, 4, 53, 53), 7.),
              block + 'relative_coords_table': torch.zeros(1, 13, 13, 2),
              block + 'relative_position_index': torch.zeros(49, 49, dtype=torch.int64),
              'levels.2.blocks.0.pos_embed.relative_bias': torch.zeros(1, 49, 64)}
    state |= {f'norm.{name}': value for name, value in
              torch.nn.BatchNorm2d(128).state_dict().items()}
    state['norm.running_mean'] += 3
    state |= {'head.weight': torch.randn(10, 128), 'head.bias': torch.randn(10)}
    return model, state


@pytest.mark.parametrize('section', ['fixed_224', 'any_res_256x320',
                                     'layer_scale_224'])
def test_key_tables(section, reference):
    """Every tensor of the official model has a place, of its shape."""
    table = json.loads((reference / 'fastervit_0.json').read_text())[section]
    arch = '0' if 'scale' not in section else dict(
        VARIANTS['0'].__dict__, layer_scale_init_value=1e-5, propagates=True)
    found = NAMES.sort({k: torch.empty(v, device='meta') for k, v in table.items()})
    assert {k: v.shape for k, v in network(
        arch, out_indices=(0, 1, 2, 3), out_norm_cfg=None).state_dict().items()} == {
        k: v.shape for k, v in found.backbone.items() if 'out_norms' not in k}
    assert {k: tuple(v.shape) for k, v in found.classifier.items()} == {
        'head.fc.weight': (1000, 512), 'head.fc.bias': (1000, )}


@pytest.mark.parametrize('key, prefix', [
    ('state_dict', ''), ('state_dict', 'module.'), ('model', 'module.encoder.'),
    (None, 'encoder.'), ('state_dict', 'backbone.')])
@pytest.mark.parametrize('deploy', [False, True])
def test_nvidias_files(key, prefix, deploy, small, tmp_path):
    model, state = small
    state = {prefix + name: value for name, value in state.items()}
    torch.save({key: state, 'epoch': 3} if key else state, tmp_path / 'file.pth.tar')
    other = FasterViT(FASTERVIT_KIND, deploy=deploy).eval()
    report = load_pretrained(other, str(tmp_path / 'file.pth.tar'))
    assert (report.owner, report.fused) == ("NVIDIA's", False)
    # Their norm of the last stage is that of our last output.
    assert torch.equal(other.out_norms['3'].running_mean, torch.full((128, ), 3.))
    assert all(name.startswith('out_norms.') for name in report.fresh)
    other.out_norms.clear()
    x = torch.randn(1, 3, 150, 180)
    with torch.no_grad():
        torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_norm_of_another_kind_stays_fresh(small, tmp_path):
    torch.save(small[1], tmp_path / 'file.pth')
    other = FasterViT(FASTERVIT_KIND, out_norm_cfg=dict(type='GN', num_groups=4))
    pytest.importorskip('mmcv')
    report = load_pretrained(other, str(tmp_path / 'file.pth'))
    assert set(report.fresh) == {
        f'out_norms.{i}.{part}' for i in range(4) for part in ('weight', 'bias')}


@pytest.mark.parametrize('change, message', [
    (lambda state: state.pop('levels.3.blocks.0.mlp.fc1.bias'), '1 missing'),
    (lambda state: state.update({'levels.3.blocks.0.extra': torch.zeros(1)}),
     '1 unexpected'),
    (lambda state: [state.pop(k) for k in list(state) if 'hat_' in k
                    or 'global_tokenizer' in k or re.search('gamma[12]', k)],
     'without carrier tokens, the network is'),
    (lambda state: state.update({'patch_embed.conv_down.0.weight':
                                 torch.zeros(8, 4, 3, 3)}), 'images of 4 channels')])
def test_all_of_it_or_nothing(change, message, small, tmp_path):
    state = small[1]
    change(state)
    torch.save(state, tmp_path / 'file.pth')
    other = FasterViT(FASTERVIT_KIND)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(other, str(tmp_path / 'file.pth'))
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_pickled_objects_beside_the_weights(small, tmp_path):
    """As training scripts of that time saved them."""
    torch.save(dict(state_dict=small[1], args=argparse.Namespace(lr=5e-3)),
               tmp_path / 'file.pth.tar')
    load_pretrained(FasterViT(FASTERVIT_KIND), str(tmp_path / 'file.pth.tar'))


@pytest.mark.parametrize('arch', VARIANTS)
def test_published_names(arch, monkeypatch):
    asked = []

    def stop(source, *_):
        asked.append(source)
        raise CheckpointError('stop here')

    monkeypatch.setattr('mmfastvit.checkpoints.load.read_state_dict', stop)
    model = network(arch)
    names = [name for name, row in PUBLISHED.items() if arch in row.variants]
    assert len(names) == (4 if '21k' in arch else 1)
    for name in names:
        with pytest.raises(CheckpointError, match='stop here'):
            load_pretrained(model, name)
        assert asked[-1] == PUBLISHED[name].address
        assert asked[-1].startswith('https://huggingface.co/ahatamiz/FasterViT/')
    other = 'nvidia://fastervit_1_224_1k' if arch != '1' else \
        'nvidia://fastervit_4_21k_224'
    with pytest.raises(CheckpointError, match=f'NVIDIA does not publish {other} for'):
        load_pretrained(model, other)
    assert 'License-NC: not for commercial use' in model.weights.notice(names[0])


def test_windows_and_rates_do_not_change_what_fits():
    arch = dict(VARIANTS['0'].__dict__, window_sizes=(7, 7, 14, 7), drop_path_rate=0.)
    assert network(arch).weights.archs() == ['0']
    assert network('4').weights.archs() == ['4']
    assert len(network('4_21k_384').weights.archs()) == 4


def test_convert_to_a_classifier(tmp_path):
    """The result fills the config's model, and its logits are the file's."""
    model = build('0', double=False, out_indices=(3, ))
    plain = PlainFasterViT(model.variant)
    state = plain.state_dict()
    theirs = dict(zip(NAMES.sort(state).backbone, state))
    state = {theirs[k]: v for k, v in model.state_dict().items() if k in theirs}
    plain.load_state_dict(state)
    norm, head = torch.nn.BatchNorm2d(512).eval(), torch.nn.Linear(512, 10)
    norm.running_mean.normal_()
    state |= {f'norm.{k}': v for k, v in norm.state_dict().items()}
    state |= {f'head.{k}': v for k, v in head.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'file.pth.tar')
    report = convert_checkpoint(str(tmp_path / 'file.pth.tar'),
                                str(tmp_path / 'out.pth'), classifier=True)
    assert 'FasterViT-0, train form' in str(report)
    assert 'classifier of 10 classes' in str(report)
    init_default_scope('mmpretrain')
    classifier = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='FasterViT', out_indices=(3, )),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=512, num_classes=10))).eval()
    DefaultScope._instance_dict.clear()
    classifier.load_state_dict(read_state_dict(str(tmp_path / 'out.pth')))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = head(norm(plain.eval()(x)[-1]).mean((2, 3)))
        actual = classifier(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_which_family_a_file_of_ours_is_of(tmp_path):
    """Both begin alike."""
    torch.save(build('0', double=False).state_dict(), tmp_path / 'own.pth')
    report = convert_checkpoint(str(tmp_path / 'own.pth'),
                                str(tmp_path / 'own.safetensors'))
    assert (report.network, report.arch) == ('FasterViT', '0')
    model = FasterViT('0', init_cfg=dict(type='Pretrained',
                                         checkpoint=str(tmp_path / 'own.safetensors')))
    model.init_weights()
