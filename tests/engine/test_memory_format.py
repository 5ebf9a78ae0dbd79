"""channels_last computes the same, in the backbone and in whole models."""
import copy
from functools import partial

import pytest
import torch
from mmengine.registry import DefaultScope
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import assert_outputs_close, backbones, build, build_model, make_batch
from mmfastvit import reparameterize
from mmfastvit.benchmark import Case
from mmfastvit.engine.memory_format import lay_out, to_channels_last


def test_channels_last_trains_to_the_same_gradients():
    """Also small stems, where oneDNN's own 1x1 stride-2 backward crashes."""
    model = build('sa12', double=False)
    x = torch.randn(8, 3, 128, 128)
    gradients, weights = [], None
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=memory_format)
        model.zero_grad()
        features = model(x.contiguous(memory_format=memory_format))
        if weights is None:
            weights = [torch.randn(f.shape) for f in features]
        sum((f * w).sum() for f, w in zip(features, weights)).backward()
        gradients.append({n: p.grad.double() for n, p in
                          model.named_parameters()})
    # Some gradients are zero but for rounding: a norm's shift before another
    # norm. So differences are held against the largest gradient.
    largest = max(g.abs().max().item() for g in gradients[0].values())
    assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize('deploy', [False, True])
def test_channels_last_gives_the_same_features(deploy):
    model = build('sa12', double=False).eval()
    model = reparameterize(model) if deploy else model
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = model(x)
        model = model.to(memory_format=torch.channels_last)
        actual = model(x.contiguous(memory_format=torch.channels_last))
    assert_outputs_close(actual, expected, 1e-5)


BATCH, HEIGHT, WIDTH = 2, 128, 96


class Maps(TorchDispatchMode):
    """Records which operations copy maps, and which write NCHW ones.

    GELUs have to write (B, H, W, C), contiguous views of NHWC maps: for those
    PyTorch calls oneDNN.
    """

    def __init__(self):
        super().__init__()
        self.copies, self.contiguous = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if isinstance(out, torch.Tensor) and out.ndim > 2 and len(out) == BATCH:
            if name in ('clone', '_to_copy'):
                self.copies.append((name, out.shape))
            elif out.ndim == 4 and name in ('gelu', 'gelu_', 'gelu_backward'):
                if not (out.is_contiguous()
                        and out.shape[1] * WIDTH == out.shape[2] * HEIGHT):
                    self.contiguous.append((name, out.shape))
            elif out.ndim == 4 and name in ('convolution', 'add', 'add_', 'addcmul'):
                if not out.is_contiguous(memory_format=torch.channels_last):
                    self.contiguous.append((name, out.shape))
        return out


@pytest.mark.parametrize('mode, forms', [
    ('inference', ('train', 'deploy')), ('frozen', ('train', )),
    ('live', ('train', ))])
@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_no_map_is_copied(arch, mode, forms):
    """At stage borders, in attention, for the neck; forward and backward."""
    for model in backbones(Case(arch, (HEIGHT, WIDTH), BATCH, mode, forms=forms)):
        with Maps() as maps:
            model.step()
        assert (maps.copies, maps.contiguous) == ([], [])
        for x in model.forward():
            assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name, trained, predicted', [
    # In training the backbone's maps, which its necks and heads want contiguous; in
    # prediction each level of the pyramid for the regions of boxes, and for those of
    # masks: RoIAlign reads no other layout.
    ('maskrcnn_fastvit_sa12_shapes.py', 4, 4 + 4),
    ('retinanet_fastvit_sa12_coco.py', 3, 0), ('fpn_fastvit_sa12_shapes.py', 4, 0)])
def test_what_is_copied_between_backbone_and_heads(name, trained, predicted):
    cfg, model = build_model(name)
    batch = make_batch(cfg)
    DefaultScope._instance_dict.clear()
    for mode, copies in (('loss', trained), ('predict', predicted)):
        trains = mode == 'loss'
        twin = lay_out(copy.deepcopy(model), trains, 'cpu').train(trains)
        data = twin.data_preprocessor(copy.deepcopy(batch), trains)
        with Maps() as maps, torch.set_grad_enabled(trains):
            twin(**data, mode=mode)
        # (B, C, H, W); heads' results, which they turn, have fewer channels than rows.
        assert len([shape for _, shape in maps.copies
                    if len(shape) == 4 and shape[1] > shape[2]]) == copies


def test_mmcv_s_operators_get_contiguous_maps():
    from mmcv.ops import RoIAlign
    align = RoIAlign((2, 2))
    x, rois = torch.rand(1, 8, 6, 6), torch.tensor([[0., 1, 1, 5, 5]])
    expected = align(x, rois)
    x = x.contiguous(memory_format=torch.channels_last)
    assert_close(to_channels_last(align)(x, rois), expected)


@pytest.mark.parametrize('name', ['maskrcnn_fastvit_sa12_shapes.py',
                                  'fpn_fastvit_sa12_shapes.py',
                                  'fastvit_sa12_shapes.py'])
def test_whole_models_have_the_same_losses(name):
    cfg, model = build_model(name)
    batch = make_batch(cfg)
    losses = []
    for prepare in (lambda model: model, partial(lay_out, trains=True, device='cpu'),
                    to_channels_last):
        model = prepare(model.train())
        torch.manual_seed(0)  # the heads draw samples
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        losses.append(model(**data, mode='loss'))
    DefaultScope._instance_dict.clear()
    weight = model.backbone.stages[0].blocks[0].ffn.fc1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    if 'loss_rpn_cls' in losses[0]:
        # Which regions the second stage gets is discrete: where an untrained
        # first stage scores all alike, rounding chooses others.
        losses = [{k: v for k, v in found.items() if k.startswith('loss_rpn')}
                  for found in losses]
    for other in losses[1:]:
        assert_close(other, losses[0], rtol=1e-4, atol=1e-4)


def test_regions_of_a_whole_detector():
    cfg, model = build_model('maskrcnn_fastvit_sa12_shapes.py')
    DefaultScope._instance_dict.clear()
    x, rois = torch.randn(1, 3, 64, 64), torch.tensor([[0., 8, 4, 40, 60]])
    found = []
    for prepare in (lambda model: model, to_channels_last):
        model = prepare(model.eval())
        with torch.no_grad():
            maps = model.extract_feat(x)
            found.append(model.roi_head.bbox_roi_extractor(maps[:4], rois))
    assert not maps[0].is_contiguous()
    assert_outputs_close(found[1:], found[:1], 1e-5)
