"""Any known file into any form, or a paragraph that says why not."""
import re
from pathlib import Path

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS
from safetensors.torch import save_file
from timm.utils.model import reparameterize_model
from torch.testing import assert_close

from helpers import build, build_timm, timm_features
from mmfastvit import (
    CheckpointError,
    FastViT,
    convert_state_dict,
    load_pretrained,
    reparameterize,
)

X = torch.randn(1, 3, 64, 64, dtype=torch.float64)


@pytest.fixture(scope='module')
def peer():
    torch.manual_seed(0)
    return build_timm('sa12').eval()


@pytest.fixture(scope='module')
def files(peer, tmp_path_factory):
    """One network under every name a user may meet it."""
    folder = tmp_path_factory.mktemp('checkpoints')
    state = peer.state_dict()
    own = FastViT('sa12', out_norm_cfg=None).double()
    own.load_state_dict(convert_state_dict(state))
    save_file(state, folder / 'timm.safetensors')
    torch.save(state, folder / 'timm.bin')
    torch.save(state, folder / 'timm.pth')
    fused = reparameterize_model(peer).state_dict()
    save_file(fused, folder / 'timm_fused.safetensors')
    torch.save(dict(state_dict=to_apple(state)), folder / 'apple.pth.tar')
    torch.save(dict(state_dict=to_apple(fused)), folder / 'apple_fused.pth')
    torch.save(own.state_dict(), folder / 'own.pth')
    torch.save(reparameterize(own).state_dict(), folder / 'own_fused.pth')
    detector = {f'backbone.{k}': v for k, v in own.state_dict().items()}
    detector['rpn_head.weight'] = torch.zeros(3)
    torch.save(dict(state_dict=detector), folder / 'detector.pth')
    return folder


def to_apple(state):
    """Rename timm's keys as the reference code has them."""
    rules = [(r'^stem\.', 'patch_embed.'), (r'^final_conv\.', 'conv_exp.'),
             (r'^head\.fc\.', 'head.'),
             (r'^stages\.3\.pos_emb\.pos_enc\.', 'network.6.pe.'),
             (r'^stages\.3\.pos_emb\.', 'network.6.'),
             (r'^stages\.3\.blocks\.', 'network.7.'),
             *((rf'^stages\.{i}\.blocks\.', f'network.{2 * i}.')
               for i in range(3)),
             *((rf'^stages\.{i}\.downsample\.', f'network.{2 * i - 1}.')
               for i in range(1, 4)),
             (r'\.proj\.0\.reparam_conv\.', '.proj.0.lkb_reparam.'),
             (r'\.conv_kxk\.', '.rbr_conv.'), (r'\.conv_scale\.',
                                               '.rbr_scale.'),
             (r'\.identity\.', '.rbr_skip.'), (r'\.large_conv\.',
                                               '.lkb_origin.'),
             (r'\.mlp\.', '.convffn.'), (r'\.gamma$', ''),
             (r'\.se\.fc1\.', '.se.reduce.'), (r'\.se\.fc2\.', '.se.expand.')]
    renamed = {}
    for key, value in state.items():
        for pattern, name in rules:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed


def test_the_renaming_above_is_the_references(reference, peer):
    import json
    table = json.loads((reference / 'fastvit_sa12.json').read_text())
    fused = reparameterize_model(peer).state_dict()
    for state, form in ((peer.state_dict(), 'unfused'), (fused, 'reparam')):
        shapes = {k: list(v.shape) for k, v in to_apple(state).items()
                  if not k.startswith('head.')}
        assert shapes == {k: v for k, v in table[form].items()
                          if not k.startswith('head.')}


UNFUSED = ['timm.safetensors', 'timm.bin', 'apple.pth.tar', 'own.pth',
           'detector.pth']
FUSED = ['timm_fused.safetensors', 'apple_fused.pth', 'own_fused.pth']


@pytest.mark.parametrize('name, deploy', [
    *((name, False) for name in UNFUSED),
    *((name, True) for name in UNFUSED + FUSED)])
def test_every_format_through_init_cfg(files, peer, name, deploy):
    model = MODELS.build(dict(
        type='FastViT', arch='sa12', out_norm_cfg=None, deploy=deploy,
        init_cfg=dict(type='Pretrained', checkpoint=str(files / name))))
    model = model.double().eval()
    model.init_weights()
    assert model.deploy == deploy
    with torch.no_grad():
        for actual, expected in zip(model(X), timm_features(peer, X)):
            assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_report_says_what_was_loaded_and_left_out(files):
    model = FastViT('sa12')
    report = load_pretrained(model, files / 'apple.pth.tar')
    trunk = [k for k in model.state_dict() if not k.startswith('out_norms.')]
    assert report.loaded == len(trunk)
    assert report.format == 'apple' and not report.fused
    assert {k.split('.')[0] for k in report.left_out} == {'neck', 'head'}
    assert {k.split('.')[0] for k in report.fresh} == {'out_norms'}
    assert f"{len(trunk)} tensors loaded" in str(report)
    report = load_pretrained(FastViT('sa12', out_indices=(1, 2)),
                             files / 'detector.pth')
    assert 'rpn_head.weight' in report.left_out
    assert any(k.startswith('stages.3.') for k in report.left_out)


def test_prefix_chooses_among_several(files, tmp_path):
    weights = torch.load(files / 'own.pth', weights_only=True)
    both = {f'{name}.{k}': v for k, v in weights.items()
            for name in ('teacher', 'student')}
    torch.save(both, tmp_path / 'both.pth')
    with pytest.raises(CheckpointError, match=r"\['teacher.', 'student.'\]"):
        load_pretrained(FastViT('sa12'), tmp_path / 'both.pth')
    for prefix in ('student.', 'student'):
        load_pretrained(FastViT('sa12'), tmp_path / 'both.pth', prefix)


def test_round_trip_of_own_names():
    model = build('t8', double=False)
    for form in (model, reparameterize(model)):
        weights = form.state_dict()
        assert_close(dict(convert_state_dict(weights)), dict(weights))
        prefixed = {f'backbone.{k}': v for k, v in weights.items()}
        assert_close(dict(convert_state_dict(prefixed)), dict(weights))
        assert convert_state_dict(prefixed, classifier=True).keys() \
            == prefixed.keys()


def test_weights_of_half_precision_files_keep_their_type(peer):
    fused = reparameterize_model(peer).half().state_dict()
    assert {v.dtype for v in convert_state_dict(fused).values()} == {
        torch.float16}
    peer.double()  # half() works in place, and the peer is shared


class Exploit:
    def __reduce__(self):
        return (exec, ('raise SystemExit("executed")',))


@pytest.mark.parametrize('suffix, content, message', [
    *((suffix, content, message) for suffix in ('.pth', '.safetensors')
      for content, message in (
          (b'', 'it is empty'),
          (b'<!DOCTYPE html><title>404</title>', 'a web page'),
          (b'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer'),
          (b'garbage' * 100, 'cannot be read'))),
    ('.pth', 'truncated', 'cannot be read'),
    ('.safetensors', 'truncated', 'cannot be read'),
    ('.pth', Exploit(), 'cannot be read'),
    ('.pth', {'state_dict': Exploit()}, 'cannot be read'),
    ('.pth', [1, 2], 'holds no state dict'),
    ('.pth', {'state_dict': {}}, 'holds no state dict'),
    ('.pth', {'a.weight': torch.zeros(1)}, 'no FastViT'),
])
def test_bad_files(tmp_path, files, suffix, content, message):
    path = tmp_path / f'file{suffix}'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == 'truncated':
        whole = (files / f'timm{suffix}').read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
    else:
        torch.save(content, path)
    model = FastViT('sa12', init_cfg=dict(type='Pretrained',
                                          checkpoint=str(path)))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        model.init_weights()
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_missing_file_and_unknown_scheme():
    with pytest.raises(CheckpointError,
                       match='no checkpoint file /nowhere.*from scratch'):
        load_pretrained(FastViT('t8'), '/nowhere/file.pth')
    with pytest.raises(CheckpointError, match='scheme that is not supported'):
        load_pretrained(FastViT('t8'), 's3://bucket/file.pth')


def test_download_failure_names_url_and_ways_on(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    url = 'http://127.0.0.1:9/fastvit_sa12.pth.tar'  # nobody listens there
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(FastViT('sa12'), url)
    for part in (url, 'init_cfg', 'from scratch'):
        assert part in str(caught.value)
    assert not list((tmp_path / 'checkpoints').iterdir())


def test_a_page_or_half_a_file_is_not_cached(tmp_path, monkeypatch, files):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    whole = (files / 'own.pth').read_bytes()
    for content in (b'<html>log in</html>', whole[:len(whole) // 2]):
        monkeypatch.setattr(
            torch.hub, 'download_url_to_file',
            lambda url, path, content=content: Path(path).write_bytes(content))
        with pytest.raises(CheckpointError, match='cannot be downloaded'):
            load_pretrained(FastViT('sa12'), 'https://example.org/own.pth')
        assert not list((tmp_path / 'checkpoints').iterdir())


def test_same_name_at_another_address_is_another_file(tmp_path, monkeypatch,
                                                      files):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    fetched = []
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, path: (
            fetched.append(url),
            Path(path).write_bytes((files / 'timm.safetensors').read_bytes())))
    for url in ('https://example.org/a/model.safetensors?download=true',
                'https://example.org/b/model.safetensors'):
        load_pretrained(FastViT('sa12'), url)
    assert len(set(fetched)) == 2


def test_download_in_a_distributed_run(tmp_path, monkeypatch, files):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, path:
        Path(path).write_bytes((files / 'own.pth').read_bytes()))
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        load_pretrained(FastViT('sa12'), 'https://example.org/own.pth')
    finally:
        torch.distributed.destroy_process_group()


def test_download_once_into_the_cache(tmp_path, monkeypatch, files):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    fetched = []

    def fetch(url, destination):
        fetched.append(url)
        with open(destination, 'wb') as file:
            file.write((files / 'own.pth').read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
    for _ in range(2):
        load_pretrained(FastViT('sa12'), 'https://example.org/own.pth')
    assert fetched == ['https://example.org/own.pth']


def test_fused_file_into_train_form(files):
    with pytest.raises(CheckpointError,
                       match='(?s)re-parameterized.*unfused.*deploy=True'):
        load_pretrained(FastViT('sa12'), files / 'timm_fused.safetensors')


@pytest.mark.parametrize('kwargs, message', [
    (dict(arch='sa24'), 'the file holds sa12, the network is sa24'),
    (dict(arch='t12'), 'the file holds sa12, the network is t12'),
    (dict(arch='sa12', in_channels=4), 'images of 3 channels, the network '
                                       'for 4'),
])
def test_wrong_network(files, kwargs, message):
    model = FastViT(**kwargs)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(model, files / 'own.pth')
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_weights_that_are_no_plain_numbers(files, tmp_path):
    weights = torch.load(files / 'own.pth', weights_only=True)
    name = 'stages.2.blocks.1.ffn.fc1.weight'
    for value in (weights[name].to_sparse(), weights[name].int()):
        torch.save({**weights, name: value}, tmp_path / 'odd.pth')
        model = FastViT('sa12')
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError, match='no plain numbers|_sparse_'):
            load_pretrained(model, tmp_path / 'odd.pth')
        assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize('wrap', [
    lambda w: dict(state_dict_ema=w), lambda w: dict(model=dict(state_dict=w)),
    lambda w: {**w, 'epoch': 3}])
def test_other_wrappings(files, tmp_path, wrap):
    weights = torch.load(files / 'own.pth', weights_only=True)
    torch.save(wrap(weights), tmp_path / 'wrapped.pth')
    load_pretrained(FastViT('sa12'), tmp_path / 'wrapped.pth')


def test_pretrained_as_a_class(files):
    model = FastViT('sa12', init_cfg=dict(type=PretrainedInit,
                                          checkpoint=str(files / 'apple.pth.tar')))
    model.init_weights()
    scale = model.stages[0].blocks[0].ffn.fc2.layer_scale
    assert (scale >= 0.1).all()  # the file's; it starts at 1e-5


def test_other_parts_keep_their_names():
    weights = {f'backbone.{k}': v for k, v in build_timm('t8').state_dict().items()}
    weights |= {'semantic_head.weight': X, 'neck.lateral.weight': X}
    converted = convert_state_dict(weights, classifier=True)
    assert 'head.fc.weight' in converted
    assert not [k for k in converted if 'lateral' in k or k == 'semantic_head']
    assert converted['head.fc.weight'].shape == (7, 768)


def test_incomplete_files(files, tmp_path):
    for name, key in (('own.pth', 'stages.2.blocks.1.ffn.fc1.weight'),
                      ('apple_fused.pth', 'network.0.0.convffn.fc2.weight')):
        content = torch.load(files / name, weights_only=True)
        content = content.get('state_dict', content)
        del content[key]
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match='is incomplete|incomplete:'):
            load_pretrained(FastViT('sa12', deploy=name != 'own.pth'),
                            tmp_path / name)


def test_one_tensor_under_two_names():
    weights = {'stem.0.conv_kxk.0.conv.weight': torch.zeros(1),
               'stages.0.blocks.0.mlp.fc1.weight': torch.zeros(1),
               'stages.0.blocks.0.convffn.fc1.weight': torch.ones(1)}
    with pytest.raises(CheckpointError, match='names one tensor twice: .*mlp.*convffn'):
        convert_state_dict(weights)
    inside = {f'model.{name}': x for name, x in list(weights.items())[:2]}
    head = {'head.fc.weight': torch.zeros(1), 'model.head.fc.weight': torch.ones(1)}
    assert len(convert_state_dict({**inside, **head})) == 2
