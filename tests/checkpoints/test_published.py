"""Published weights by name: which networks, which licence, what they ask for."""
import re

import pytest
import torch
from torch import nn

from helpers import FASTVIT
from mmfastvit import VARIANTS, CheckpointError, FastViT, FastViTNeck, load_pretrained
from mmfastvit.models.fastvit.published import PUBLISHED

MCI0 = dict(VARIANTS['mci0'].__dict__, depths=(1, 1, 1, 1))


@pytest.fixture
def asked(monkeypatch):
    """Every address that would be read."""
    addresses = []

    def read(source, select):
        addresses.append(source)
        raise CheckpointError('stop here.')
    monkeypatch.setattr('mmfastvit.checkpoints.load.read_state_dict', read)
    return addresses


@pytest.mark.parametrize('arch', FASTVIT)
def test_imagenet_weights_have_a_name(arch, asked):
    model = FastViT(arch, layer_scale_init_value=0.1)
    for name, folder in (('in1k', 'image_classification_models'),
                         ('in1k_distilled', 'image_classification_distilled_models')):
        with pytest.raises(CheckpointError, match='stop here'):
            load_pretrained(model, f'apple://{name}')
        assert asked[-1].endswith(f'/fastvit/{folder}/fastvit_{arch}.pth.tar')


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_every_row_is_whole(name):
    row = PUBLISHED[name]
    assert row.variants and set(row.variants) <= set(VARIANTS)
    assert row.address.startswith('https://') and row.licence
    assert len(row.mean) == len(row.std) == 3 and min(row.std) > 1
    assert set(row.figures) <= set(row.variants)
    assert not row.figures or row.measure and row.source
    # ImageNet's networks may be sold; MobileCLIP's and FastVLM's are for research.
    assert bool(row.restriction) == ('in1k' not in name)


def test_preprocessing_of_s3_and_s4():
    """Of the others, pixels from 0 to 1; these two have OpenAI's mean."""
    for name, row in PUBLISHED.items():
        if 'mobileclip' in name:
            mean, std = (0.48145466, 0.27577711) if name[-1] in '34' else (0., 1.)
            assert row.mean[0] == pytest.approx(255 * mean, abs=1e-3)
            assert row.std[2] == pytest.approx(255 * std, abs=1e-3)


@pytest.mark.parametrize('arch, source, message', [
    ('t8', 'apple://in22k', 'does not publish apple://in22k; for t8 there are'),
    ('mci1', 'apple://mobileclip2_s1', r'mobileclip2_s1; .*apple://mobileclip_s1\.$'),
    ('mci0', 'apple://mobileclip2_s3', 'for mci0; .* is for mci3, fastvithd: change'),
    ('mci0', 'apple://in1k', 'does not publish apple://in1k for mci0'),
    (MCI0, 'apple://in1k', 'does not publish apple://in1k for Variant'),
])
def test_what_is_not_published(arch, source, message):
    with torch.device('meta'):
        model = FastViT(arch)
    with pytest.raises(CheckpointError) as error:
        load_pretrained(model, source)
    assert re.search(message, str(error.value).split(' Other ways')[0])


def test_a_pin_goes_with_the_name(asked):
    with pytest.raises(CheckpointError, match='stop here'):
        load_pretrained(FastViTNeck(512), f'apple://mobileclip2_s0#sha256={"a" * 64}')
    assert asked == [PUBLISHED['apple://mobileclip2_s0'].address
                     + f'#sha256={"a" * 64}']


def test_a_neck_does_not_tell_the_network():
    with pytest.raises(CheckpointError, match='several networks.*fastvit_ma36.pth.tar'):
        load_pretrained(FastViTNeck(512), 'apple://in1k')


def tiny(deploy=False):
    backbone = FastViT(MCI0, out_norm_cfg=None, deploy=deploy)
    neck = FastViTNeck(512, embedding_dims=512, deploy=deploy)
    return nn.ModuleDict(dict(backbone=backbone, neck=neck))


def test_licence_is_said_once_and_the_neck_comes_from_the_same_file(
        tmp_path, monkeypatch):
    whole = tiny()
    whole['neck'].proj.bias.data.zero_()
    torch.save(whole.state_dict(), tmp_path / 'own.pth')
    monkeypatch.setattr('mmfastvit.checkpoints.published.Publications.locate',
                        lambda self, source, *_: str(tmp_path / 'own.pth'))
    said = []
    monkeypatch.setattr('mmfastvit.checkpoints.load.print_log',
                        lambda text, *_, **__: said.append(text))
    for deploy in (False, True):
        said.clear()
        other = tiny(deploy)
        for part in other.values():
            load_pretrained(part, 'apple://mobileclip2_s0')
        assert ''.join(said).count('for research, not for commercial use') == 1
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            expected, actual = (model['neck'](model['backbone'](x))[0]
                                for model in (whole.eval(), other.eval()))
        assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    # For fine-tuning the projection is left out.
    report = load_pretrained(FastViTNeck(512), 'apple://mobileclip2_s0')
    assert {'proj.weight', 'proj.bias'} <= set(report.left_out)


def test_necks_that_do_not_fit(tmp_path):
    torch.save(FastViT(MCI0).state_dict(), tmp_path / 'backbone.pth')
    with pytest.raises(CheckpointError, match='a backbone without neck'):
        load_pretrained(FastViTNeck(512), tmp_path / 'backbone.pth')
    torch.save(tiny().state_dict(), tmp_path / 'whole.pth')
    with pytest.raises(CheckpointError, match='network of other widths'):
        load_pretrained(FastViTNeck(256), tmp_path / 'whole.pth')
    torch.save(tiny(True).state_dict(), tmp_path / 'fused.pth')
    with pytest.raises(CheckpointError, match='the neck is in train form'):
        load_pretrained(FastViTNeck(512), tmp_path / 'fused.pth')


def test_a_fused_tower_into_a_train_form(tmp_path):
    kind = dict(VARIANTS['mci3'].__dict__, depths=(1,) * 5,
                embed_dims=(32, 64, 128, 256, 512))
    torch.save(FastViT(kind, deploy=True).state_dict(), tmp_path / 'fused.pth')
    with pytest.raises(CheckpointError, match='fine-tune it as the plain convolutions'):
        load_pretrained(FastViT(kind), tmp_path / 'fused.pth')


@pytest.mark.parametrize('arch', ['mci3', 'fastvithd'])
def test_the_nearest_unfused_weights_are_named(arch):
    with torch.device('meta'):
        model = FastViT(arch)
    converted = type('Converted', (), dict(fused=True))
    with pytest.raises(CheckpointError, match='such as apple://mobileclip2_s3'):
        model.weights.target(converted)


def test_texts_alone(tmp_path):
    torch.save({'text_encoder.transformer.0.weight': torch.zeros(3, 3),
                'logit_scale': torch.zeros(1)}, tmp_path / 'text.pt')
    with pytest.raises(CheckpointError, match='holds no FastViT'):
        load_pretrained(FastViT('t8'), tmp_path / 'text.pt')
