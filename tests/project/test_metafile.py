"""model-index.yml and what it imports, as MIM and MMEngine read them."""
from pathlib import Path

import pytest
import torch
from mmengine.fileio import load

import mmfastvit
from conftest import ROOT
from helpers import FASTVIT, macs_by_hand
from mmfastvit import reparameterize
from mmfastvit.apis.summarize import WHOLE, Classifier, count
from mmfastvit.engine.config import load_config
from mmfastvit.models.families import find_published
from mmfastvit.models.fastvit.published import PUBLISHED

MIM = Path(mmfastvit.__file__).parent / '.mim'
IMPORTS = load(MIM / 'model-index.yml')['Import']
METAFILES = [load(MIM / path) for path in IMPORTS]
MODELS = {model['Name']: model for file in METAFILES for model in file['Models']}


def test_every_metafile_is_imported():
    found = {path.relative_to(ROOT / 'configs')
             for path in (ROOT / 'configs').rglob('metafile.yml')}
    assert {Path(path).relative_to('configs/fastvit') for path in IMPORTS} == found


def test_every_published_figure_has_an_entry():
    assert sum(len(file['Models']) for file in METAFILES) == len(MODELS)
    large = ['sa12', 'sa24', 'sa36', 'ma36']  # what the paper trains
    clip = ['mci0', 'mci1', 'mci2', 'mci3', 'mci4']
    assert set(MODELS) == {
        'fastvit_sa12_distilled_in1k',
        *(f'fastvit_{arch}_in1k' for arch in [*FASTVIT, *clip]),
        *(f'fastervit_{arch}_in1k' for arch in range(7)),
        *(f'maskrcnn_fastvit_{arch}_coco' for arch in large),
        *(f'fpn_fastvit_{arch}_ade20k' for arch in large)}


@pytest.mark.parametrize('name', MODELS)
def test_entry(name):
    model = MODELS[name]
    assert model['Config'] == f'configs/fastvit/{name}.py'
    assert (MIM / model['Config']).is_file()
    collections = [c['Name'] for file in METAFILES for c in file['Collections']]
    assert model['In Collection'] in collections
    # Nobody may take another's figure for that of weights trained here.
    assert 'Weights' not in model
    source = 'reference' if name.endswith('in1k') else 'paper'
    metrics = [metric for result in model['Results']
               for metric in result['Metrics']]
    assert metrics
    assert all(metric.startswith(f'{source} ') for metric in metrics)


@pytest.mark.parametrize('arch', FASTVIT)
def test_parameters_and_flops(arch):
    model = reparameterize(Classifier(arch))
    for name in (f'fastvit_{arch}_in1k', f'fastvit_{arch}_distilled_in1k'):
        if name in MODELS:
            metadata = MODELS[name]['Metadata']
            assert metadata['Parameters'] == sum(
                p.numel() for p in model.parameters())
            # What tools/summary.py counts (test_summary.py).
            assert metadata['FLOPs'] == macs_by_hand(arch, 256, train=0)
            kind = 'in1k_distilled' if 'distilled' in name else 'in1k'
            assert MODELS[name]['Converted From']['Weights'] \
                == PUBLISHED[f'apple://{kind}'].address.format(arch=arch)


@pytest.mark.parametrize('arch', [*'01', *(pytest.param(arch, marks=pytest.mark.slow)
                                           for arch in '234')])
def test_fastervit(arch):
    """Costs as the facts have them, of the train form's multiply-accumulates."""
    model = Classifier(f'fastervit_{arch}').eval()
    x = torch.zeros(1, 3, 224, 224)
    gmacs = {'0': 3.492, '1': 5.503, '2': 8.975, '3': 18.708, '4': 43.228}[arch]
    assert count(model, x)[WHOLE].macs / 1e9 == pytest.approx(gmacs, abs=6e-4)
    cost = count(reparameterize(model), x)[WHOLE]
    entry, row = MODELS[f'fastervit_{arch}_in1k'], \
        find_published(f'nvidia://fastervit_{arch}_224_1k')
    assert entry['Metadata']['Parameters'] == cost.parameters
    assert entry['Metadata']['FLOPs'] == cost.macs
    assert entry['Converted From']['Weights'] == row.address
    metrics, = (result['Metrics'] for result in entry['Results'])
    assert metrics == {'reference Top 1 Accuracy': row.figures[arch]}


@pytest.mark.parametrize('arch', ['mci0', 'mci1', 'mci2', 'mci3', 'mci4'])
def test_image_encoders(arch):
    """The figures are those of the weights that the config starts from."""
    cfg = load_config(ROOT / 'configs' / f'fastvit_{arch}_in1k.py')
    row = PUBLISHED[cfg.model.backbone.init_cfg.checkpoint]
    entry = MODELS[f'fastvit_{arch}_in1k']
    assert entry['Converted From']['Weights'] == row.address
    metrics, = (result['Metrics'] for result in entry['Results'])
    assert metrics == {'reference Zero-Shot Top 1 Accuracy': row.figures[arch]}
    with torch.device('meta'):
        model = reparameterize(Classifier(arch))
    assert entry['Metadata']['Parameters'] == sum(p.numel() for p in model.parameters())
    assert entry['Metadata']['FLOPs'] == macs_by_hand(arch, 256, train=0)
