"""The benchmark of whole models: forms, files, and timm's backbone in ours' place."""
from dataclasses import replace

import pytest
import torch
from mmengine.registry import DefaultScope

from conftest import ROOT
from helpers import shapes_case
from mmfastvit import ArgumentError
from mmfastvit.benchmark import Case, benchmark, files
from mmfastvit.benchmark.build import build
from mmfastvit.benchmark.contestants import line_up


@pytest.fixture
def config(shapes, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f'''
_base_ = {str(ROOT / 'configs' / 'fpn_fastvit_sa12_shapes.py')!r}
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root={str(shapes)!r}))
test_dataloader = dict(num_workers=0, persistent_workers=False,
                       dataset=dict(data_root={str(shapes)!r}))
''')
    return path


@pytest.mark.slow
def test_whole_model(config):
    result, = benchmark(Case(str(config), mode='live'), 1, 0., own_processes=False)
    assert result.contestant == 'mmfastvit train channels_last'
    assert result.shape[1] == 3 and result.saved_bytes > 0
    forms = ['train', 'deploy']
    if torch.__version__ >= '2.6':
        pytest.importorskip('onnxruntime')
        forms.append('onnxruntime')
    results = benchmark(Case(str(config), forms=tuple(forms)), 1, 0.,
                        own_processes=False)
    assert [r.contestant.split()[1] for r in results] == forms


@pytest.mark.parametrize('mode', ['inference', 'frozen'])
def test_whole_models_beside_timm_s(mode, config):
    """One with ours, and one with timm's in MMPretrain's wrapper, on the same weights.

    Their maps are held against each other.
    """
    case = Case(str(config), (64, 96), 2, mode, forms=('train', ), vs_timm=True)
    assert len(build(case, line_up(case)[-1]).take_maps()) == 4  # to hold against
    *timm, ours = benchmark(case, 1, 0., own_processes=False)
    assert [result.contestant.split()[0] for result in timm] == ['timm', 'timm']
    assert {result.shape for result in (*timm, ours)} == {(2, 3, 64, 96)}
    assert all(bool(result.saved_bytes) == (mode == 'frozen')
               for result in (*timm, ours))


def test_whole_models_that_timm_lacks(config):
    config.write_text(config.read_text() + """
model = dict(backbone=dict(type='FasterViT', _delete_=True), neck=dict(
    in_channels=[64, 128, 256, 512]))
""")
    with pytest.raises(ArgumentError, match='timm has no FasterViT'):
        benchmark(Case(str(config), vs_timm=True), 1, own_processes=False)


@pytest.mark.skipif(torch.__version__ < '2.6', reason='the exporter needs more')
def test_files_beside_each_other(config, tmp_path, shapes, monkeypatch):
    """What a format cannot hold is a row that says why; the others are measured."""
    pytest.importorskip('ncnn')
    from mmfastvit.export.formats import FORMATS
    monkeypatch.setitem(FORMATS, 'executorch', replace(FORMATS['executorch'],
                                                       lacks=('segmentation', )))
    cfg, checkpoint = shapes_case('fpn', shapes, tmp_path)
    DefaultScope._instance_dict.clear()
    cfg.dump(tmp_path / 'own.py')
    document = tmp_path / 'docs.md'
    document.write_text('before\n<!-- files of own -->\nold\n<!-- end -->\nafter\n')
    case = Case(str(tmp_path / 'own.py'), forms=('deploy', 'ncnn', 'executorch'),
                checkpoint=str(checkpoint))
    results = benchmark(case, 1, 0., own_processes=False)
    pytorch, ncnn, refused = results
    assert ncnn.quality.file_bytes == pytest.approx(pytorch.quality.file_bytes, rel=0.1)
    assert ncnn.quality.metrics == pytest.approx(pytorch.quality.metrics, abs=0.1)
    assert 'mIoU' in ncnn.quality.metrics
    assert 0 < ncnn.quality.differences['logits'] < 1e-4
    assert 'the feature maps alone' in refused.refused
    files.insert(files.table(results), 'own', document)
    lines = document.read_text().splitlines()
    assert lines[0] == 'before' and lines[-1] == 'after' and 'old' not in lines
    assert [line.split()[1] for line in lines if line.startswith('|')][2:] == [
        'PyTorch,', 'ncnn', 'executorch']
    document.write_text(document.read_text().replace('<!-- end -->\n', '')
                        + '<!-- files of other -->\n<!-- end -->\n')
    for name in ('another', 'own'):  # missing, without its end
        with pytest.raises(ArgumentError, match='no place for the table'):
            files.places(name, document)
    with pytest.raises(ArgumentError, match='None of the forms'):
        benchmark(replace(case, forms=('executorch', )), 1, 0., own_processes=False)
