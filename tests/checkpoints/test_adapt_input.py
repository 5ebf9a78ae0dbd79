"""Weights for colour pictures start networks for other images, on request."""
import pytest
import torch
from torch.testing import assert_close

from helpers import assert_outputs_close, build, build_timm
from mmfastvit import CheckpointError, FastViT, load_pretrained


@pytest.fixture(scope='module')
def colour(tmp_path_factory):
    """A network for pictures in colour, and its checkpoint."""
    model = build('t8', double=False, out_norm_cfg=None).eval()
    path = tmp_path_factory.mktemp('colour') / 'colour.pth'
    torch.save(model.state_dict(), path)
    return model, path


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('in_channels', [1, 6])
def test_equal_channels_give_what_they_gave(colour, in_channels, deploy):
    source, path = colour
    model = FastViT('t8', in_channels, out_norm_cfg=None, deploy=deploy, init_cfg=dict(
        type='Pretrained', checkpoint=str(path), adapt_input=True)).eval()
    model.init_weights()
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = source(grey.expand(-1, 3, -1, -1))
        actual = model(grey.expand(-1, in_channels, -1, -1))
    assert_outputs_close(actual, expected, 1e-4)


@pytest.mark.parametrize('in_channels', [1, 2, 4, 7])
def test_as_timm_adapts_it(tmp_path, in_channels):
    from timm.models._manipulate import adapt_input_conv
    weights = build_timm('t8').state_dict()
    torch.save(weights, tmp_path / 'timm.pth')
    model = FastViT('t8', in_channels).double()
    report = load_pretrained(model, tmp_path / 'timm.pth', adapt_input=True)
    for ours, theirs in (('convs.0', 'conv_kxk.0'), ('convs.1', 'conv_scale')):
        expected = adapt_input_conv(
            in_channels, weights[f'stem.0.{theirs}.conv.weight'].float())
        assert_close(model.get_parameter(f'stem.0.{ours}.conv.weight').float(),
                     expected)
    assert ('2 adapted to the channels of the images: stem.0.convs.0.conv.weight'
            in str(report))


def test_only_on_request(colour):
    _, path = colour
    with pytest.raises(CheckpointError,
                       match='3 channels, the network for 4: .*adapt_input=True'):
        load_pretrained(FastViT('t8', 4), path)
    report = load_pretrained(FastViT('t8'), path, adapt_input=True)
    assert not report.adapted and 'adapted' not in str(report)
