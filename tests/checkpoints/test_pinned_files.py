"""Files pinned by their hash, and checkpoints in shards."""
import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from helpers import call
from mmfastvit import CheckpointError, FastViT, load_pretrained
from mmfastvit.checkpoints.read import (
    download,
    load_from_path_or_url,
    read_state_dict,
)

PREFIX = 'model.vision_tower.vision_tower.model.'


@pytest.fixture
def file(tmp_path):
    torch.save(dict(state_dict=FastViT('t8').state_dict(),
                    model_ema=FastViT('t8').state_dict()), tmp_path / 't8.pth')
    return tmp_path / 't8.pth'


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pinned_file_loads_and_the_report_says_its_hash(file):
    model = FastViT('t8')
    report = load_pretrained(model, file)
    assert report.sha256 == sha256(file) and report.sha256 in str(report)
    pinned = load_pretrained(model, f'{file}#model_ema&sha256={sha256(file).upper()}')
    assert pinned.sha256 == report.sha256
    expected = torch.load(file, weights_only=True)
    assert_close(dict(model.state_dict()), dict(expected['model_ema']))
    load_from_path_or_url(f'{file}#sha256={sha256(file)}')


def test_another_file_is_refused_and_changes_nothing(file):
    model = FastViT('t8')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wrong = f'{file}#sha256={"0" * 64}'
    for load in (lambda: load_pretrained(model, wrong), lambda: read_state_dict(wrong),
                 lambda: load_from_path_or_url(wrong)):
        with pytest.raises(CheckpointError, match=f'{sha256(file)}.*expected was 0000'):
            load()
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match='64 digits'):
        read_state_dict(f'{file}#sha256=abc')


def test_a_download_that_differs_is_not_kept(file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda url, path: (
        open(path, 'wb').write(file.read_bytes())))
    url = 'https://example.org/t8.pth'
    with pytest.raises(CheckpointError, match='not the file that was asked for'):
        download(url, '0' * 64)
    assert not list((tmp_path / 'hub' / 'checkpoints').iterdir())
    assert download(url, sha256(file)).is_file()
    with pytest.raises(CheckpointError, match='not the file that was asked for'):
        read_state_dict(f'{url}#sha256={"0" * 64}')  # the copy, too


def test_one_of_several_state_dicts_is_not_the_whole_file(file):
    with pytest.raises(CheckpointError, match='no checkpoint file .*#model_ema'):
        load_from_path_or_url(f'{file}#model_ema')


@pytest.fixture
def shards(tmp_path):
    """A tower in two of three shards, its names prefixed, and its index."""
    model = FastViT('t8', out_norm_cfg=None)
    names = list(model.state_dict())
    parts = ({f'{PREFIX}{name}': model.state_dict()[name] for name in half}
             for half in (names[:100], names[100:]))
    text = {'model.layers.0.weight': torch.zeros(2)}
    index = {}
    for i, part in enumerate([*parts, text]):
        shard = f'model-0000{i + 1}-of-00003.safetensors'
        save_file({k: v.contiguous() for k, v in part.items()}, tmp_path / shard)
        index |= dict.fromkeys(part, shard)
    path = tmp_path / 'model.safetensors.index.json'
    path.write_text(json.dumps(dict(weight_map=index)))
    return model, path


def test_shards_are_put_together_and_others_not_read(shards):
    model, index = shards
    (index.parent / 'model-00003-of-00003.safetensors').unlink()  # the texts'
    loaded = FastViT('t8', out_norm_cfg=None)
    load_pretrained(loaded, index)
    assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match='there is no checkpoint file'):
        read_state_dict(index)
    with pytest.raises(CheckpointError, match='says nothing about its shards'):
        load_pretrained(loaded, f'{index}#sha256={sha256(index)}')


def test_one_shard_of_several(shards):
    _, index = shards
    model = FastViT('t8', out_norm_cfg=None)
    for i in (1, 2, 3):
        with pytest.raises(CheckpointError, match='one of 3 shards: give the index'):
            load_pretrained(model, index.parent / f'model-0000{i}-of-00003.safetensors')


@pytest.mark.parametrize('content', [
    '', '{}', '[]', '{"weight_map": 3}', '{"weight_map": {"a": 3}}',
    '{"weight_map": {"a": "../../x.safetensors"}}', '[' * 100_000,
    '{"weight_map": {"a": "/etc/passwd"}}', '{"weight_map": {"a": "x.pth"}}'])
def test_a_hostile_index(content, tmp_path):
    path = tmp_path / 'model.safetensors.index.json'
    path.write_text(content)
    with pytest.raises(CheckpointError, match='index|beside it'):
        read_state_dict(path)


def test_tools_take_pinned_files(file, tmp_path):
    done = call('convert_checkpoint', f'{file}#sha256={"0" * 64}', 'out.pth',
                cwd=tmp_path)
    assert done.returncode == 1 and 'not the file' in done.stdout
    assert not (tmp_path / 'out.pth').exists()
    done = call('convert_checkpoint', f'{file}#sha256={sha256(file)}', 'out.pth',
                cwd=tmp_path)
    assert done.returncode == 0, done.stdout
