"""No layer reads a layout that it does not know: mmcv's operators, one's own layers."""
import copy
import inspect

import mmcv.ops
import pytest
import torch
from mmcv.cnn import build_conv_layer
from mmengine.model import BaseModel
from torch import nn
from torch.testing import assert_close

from helpers import assert_outputs_close, build
from mmfastvit.engine.memory_format import to_channels_last

BOXES = torch.tensor([[0., 1, 1, 6, 7], [1, 0, 2, 5, 6]])
ROTATED = torch.tensor([[0., 3, 3, 4, 4, .3], [1, 4, 4, 5, 3, -.2]])
CURVES = torch.cat([BOXES[:, :1], 6 * torch.rand(
    2, 16, generator=torch.Generator().manual_seed(0))], 1)
OFFSETS, MASK = torch.rand(2, 18, 8, 8), torch.rand(2, 9, 8, 8)
# Arguments of the layer, and what it takes beside a map (2, 8, 8, 8).
OPERATORS = {
    'BezierAlign': (((2, 2), 1., 2), (CURVES,)),
    'Conv2d': ((8, 8, 3), ()),
    'ConvTranspose2d': ((8, 8, 3), ()),
    'CornerPool': (('top',), ()),
    'CrissCrossAttention': ((8,), ()),
    'DeformConv2d': ((8, 8, 3, 1, 1), (OFFSETS,)),
    'DeformConv2dPack': ((8, 8, 3, 1, 1), ()),
    'Linear': ((8, 4), ()),
    'MaxPool2d': ((2,), ()),
    'ModulatedDeformConv2d': ((8, 8, 3, 1, 1), (OFFSETS, MASK)),
    'ModulatedDeformConv2dPack': ((8, 8, 3, 1, 1), ()),
    'PSAMask': (('collect', (2, 4)), ()),
    'RoIAlign': (((2, 2),), (BOXES,)),
    'RoIAlignRotated': (((2, 2), 1.), (ROTATED,)),
    'SAConv2d': ((8, 8, 3, 1, 1), ()),
    'SimpleRoIAlign': (((2, 2), 1.), (BOXES,)),
}
NOT_HERE = {
    'GPUs only': {
        'BorderAlign', 'CARAFE', 'CARAFENaive', 'CARAFEPack', 'Correlation',
        'DeformRoIPool', 'DeformRoIPoolPack', 'FusedBiasLeakyReLU', 'MaskedConv2d',
        'ModulatedDeformRoIPoolPack', 'PrRoIPool', 'RiRoIAlignRotated', 'RoIPool',
        'TINShift'},
    'several processes on GPUs': {'SyncBatchNorm'},
    'points, tokens or sparse tensors, no maps': {
        'DynamicScatter', 'GroupAll', 'MultiScaleDeformableAttention',
        'PointsSampler', 'QueryAndGroup', 'RoIAwarePool3d', 'RoIPointPool3d',
        'SparseConv2d', 'SparseConv3d', 'SparseConvTranspose2d',
        'SparseConvTranspose3d', 'SparseInverseConv2d', 'SparseInverseConv3d',
        'SparseMaxPool2d', 'SparseMaxPool3d', 'SparseModule', 'SparseSequential',
        'SubMConv2d', 'SubMConv3d', 'Voxelization'},
    'losses, of scores (N, C)': {'SigmoidFocalLoss', 'SoftmaxFocalLoss'},
}


def test_every_operator_is_tested_or_says_why_not():
    known = set(OPERATORS).union(*NOT_HERE.values())
    layers = {name for name in dir(mmcv.ops)
              if inspect.isclass(getattr(mmcv.ops, name))
              and issubclass(getattr(mmcv.ops, name), nn.Module)}
    assert layers <= known


def run(net, extra, memory_format=torch.channels_last):
    """Return what a layer after a convolution gets and gives, and all gradients."""
    random = torch.Generator().manual_seed(0)
    net.zero_grad()
    maps = net['before'](torch.rand(2, 4, 8, 8, generator=random))
    out = net['layer'](maps, *extra)
    weight = torch.rand(out.shape, generator=random)
    if out.ndim == 4:  # as a convolution hands gradients back
        weight = weight.contiguous(memory_format=memory_format)
    (out * weight).sum().backward()
    return maps, out.detach(), {name: p.grad for name, p in net.named_parameters()
                                if p.grad is not None}


def assert_layouts_agree(layer, extra=()):
    net = nn.ModuleDict(dict(before=nn.Conv2d(4, 8, 1), layer=layer)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    converted = to_channels_last(copy.deepcopy(net))
    _, out, gradients = run(net, [x.contiguous() for x in extra],
                            torch.contiguous_format)
    maps, actual, actual_gradients = run(converted, extra)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert_close(actual, out, rtol=1e-5, atol=1e-5 * out.abs().max().item())
    largest = max(g.abs().max().item() for g in gradients.values())
    assert_close(actual_gradients, gradients, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize('name', OPERATORS)
def test_mmcv_s_operators_compute_the_same(name):
    arguments, extra = OPERATORS[name]
    extra = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
             for x in extra]
    layer = getattr(mmcv.ops, name)(*arguments)
    assert_layouts_agree(layer, extra)


@pytest.mark.parametrize('kind', ['ConvWS', 'ConvAWS', 'Conv2d'])
def test_convolutions_that_look_at_their_weight(kind):
    assert_layouts_agree(build_conv_layer(dict(type=kind), 8, 8, 3))


class Flattening(nn.Module):
    """A layer of a user's own, which takes contiguous maps for granted."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x, scale=None):
        x = self.conv(x) + x.view(2, -1).sum()
        return x.view(2, -1) if scale is None else x.view(2, -1) * scale.view(-1)[0]


def test_layers_of_one_s_own_get_contiguous_maps():
    assert_layouts_agree(Flattening())
    layer = to_channels_last(Flattening())
    x = torch.rand(2, 8, 8, 8)
    out = layer(x.contiguous(memory_format=torch.channels_last),
                scale=torch.rand(2, 2, 2, 2).contiguous(
                    memory_format=torch.channels_last))
    assert out.shape == (2, 8 * 36)


def test_three_dimensional_convolutions_stay():
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Unflatten(0, (1, 2)),
                          nn.Conv3d(2, 3, 3))
    x = torch.rand(2, 4, 8, 8)
    expected = model(x)
    assert_close(to_channels_last(model)(x), expected)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[2].weight.is_contiguous()


class Wrapper(nn.Module):
    """A backbone of a user's own around ours."""

    def __init__(self):
        super().__init__()
        self.net = build('t8', double=False)
        self.scale = nn.Conv2d(384, 8, 1)

    def forward(self, x):
        return self.scale(self.net(x)[-1]).view(len(x), -1)


class Model(BaseModel):
    """A whole model of a user's own."""

    def __init__(self):
        super().__init__()
        self.backbone = build('t8', double=False)
        self.neck = nn.Conv2d(384, 8, 1)

    def forward(self, x):
        return self.neck(self.backbone(x)[-1])


@pytest.mark.parametrize('kind', [Wrapper, Model])
def test_our_backbone_is_fast_wherever_it_stands(kind):
    model, x = kind().eval(), torch.rand(2, 3, 64, 64)
    backbone = model.net if kind is Wrapper else model.backbone
    with torch.no_grad():
        expected = model(x)
        actual = to_channels_last(model)(x)
        maps = backbone.stem(x)
    assert_outputs_close([actual], [expected], 1e-5)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    last = model.scale if kind is Wrapper else model.neck
    assert last.weight.shape == (8, 384, 1, 1)
    assert actual.is_contiguous(memory_format=torch.channels_last) or kind is Wrapper


def build_head(**kwargs):
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS
    head = MODELS.build(dict(num_classes=3, in_channels=8, feat_channels=32,
                             stacked_convs=2, _scope_='mmdet', **kwargs)).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.1)
    return head


@pytest.mark.parametrize('cfg', [
    dict(type='FCOSHead', dcn_on_last_conv=True),
    dict(type='TOODHead', norm_cfg=None, anchor_generator=dict(
        type='AnchorGenerator', ratios=[1.], octave_base_scale=8,
        scales_per_octave=1, strides=[8])),
    dict(type='VFNetHead', norm_cfg=None)], ids=lambda cfg: cfg['type'])
def test_heads_with_deformable_convolutions(cfg):
    """Also where a head calls mmcv's function, and holds no layer of mmcv.ops."""
    head = build_head(**cfg)
    levels = 1 if cfg['type'] == 'TOODHead' else 5
    maps = [torch.rand(1, 8, 16, 16) for _ in range(levels)]
    with torch.no_grad():
        expected = head(maps)
        actual = to_channels_last(head)(
            [x.contiguous(memory_format=torch.channels_last) for x in maps])
    for found, wanted in zip(actual, expected):
        assert_outputs_close(found, wanted, 1e-5)


def test_pyramids_and_plain_heads_run_channels_last():
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS
    neck = MODELS.build(dict(type='mmdet.FPN', in_channels=[8, 16], out_channels=8,
                             num_outs=3))
    head = build_head(type='RetinaHead')
    to_channels_last(nn.ModuleDict(dict(neck=neck, head=head)))
    with torch.no_grad():
        maps = neck([torch.rand(2, 8, 16, 16), torch.rand(2, 16, 8, 8)])
        scores, boxes = head(maps)
    for x in (*maps, *scores, *boxes):
        assert x.is_contiguous(memory_format=torch.channels_last)
