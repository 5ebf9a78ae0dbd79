"""What users and toolboxes put into a network counts, and hooks see the truth."""
import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.testing import assert_close

from helpers import build
from mmfastvit import ArgumentError, ops, reparameterize
from mmfastvit.models.layers import ConvFFN, RepConv
from mmfastvit.models.reparam import run_branches


def image():
    return torch.randn(2, 3, 64, 64, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last)


def network(arch='t8', form='eval'):
    model = build(arch).eval().to(memory_format=torch.channels_last)
    return reparameterize(model) if form == 'deploy' else model


@pytest.mark.parametrize('arch', ['t8', 'sa12'])
@pytest.mark.parametrize('form', ['eval', 'deploy'])
def test_hooks_keep_what_modules_returned(arch, form):
    """Of every module inside, for ever, though maps are overwritten elsewhere."""
    model, x = network(arch, form), image()
    kept, copies = {}, {}

    def keep(name):
        def hook(module, inputs, output):
            kept[name], copies[name] = output, output.clone()
        return hook

    with torch.no_grad():
        expected = model(x)
        hooks = [module.register_forward_hook(keep(name))
                 for name, module in model.named_modules()
                 if name and not isinstance(module, nn.ModuleList)]
        actual = model(x)
    assert_close(actual, expected)
    assert_close(kept, copies, rtol=0, atol=0)
    assert {'stem.0', 'stages.0.blocks.0.ffn.conv', 'stages.0.blocks.0.ffn.fc1',
            'stages.0.blocks.0.token_mixer', 'stages.1.downsample'} <= set(kept)
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize('name', ['stages.0.blocks.0.ffn', 'stages.0.blocks.0',
                                  'stages.1.downsample', 'stem',
                                  'stages.0.blocks.1.token_mixer'])
def test_one_hook_is_enough(name):
    model, kept = network(), []
    with torch.no_grad():
        module = model.get_submodule(name)
        module.register_forward_hook(lambda m, i, out: kept.extend([out, out.clone()]))
        model(image())
    assert_close(*kept, rtol=0, atol=0)


def test_hooks_that_change_what_passes():
    model, x = network(), image()
    for name in ('stages.0.blocks.0.ffn.fc1', 'stem.1', 'stages.1.blocks.0.ffn.fc2'):
        twin = copy.deepcopy(model)
        twin.get_submodule(name).register_forward_hook(lambda m, i, out: out * 2)
        with ops.plain(), run_branches(twin):
            expected = twin(x)
        assert_close(twin(x), expected)
        assert not torch.allclose(twin(x)[-1], model(x)[-1])


def test_gradients_pass_through_hooks():
    model, x, seen = network(), image(), []
    model.stages[0].blocks[0].ffn.fc1.register_full_backward_hook(
        lambda m, of_in, of_out: seen.append(of_out[0].shape))
    model(x)[-1].sum().backward()
    assert seen == [(2, 144, 16, 16)]


def test_global_hooks_see_every_module():
    model, names = network(), set()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: names.add(id(module)))
    try:
        with torch.no_grad():
            model(image())
    finally:
        handle.remove()
    assert id(model.stages[0].blocks[0].ffn.fc2) in names


@pytest.mark.parametrize('fuse', ['mmcv', 'by hand'])
def test_norms_that_a_toolbox_fused(fuse):
    """mmcv's fuse_conv_bn leaves biases in convolutions, and nn.Identity as norms."""
    model, x = network('sa12'), image()
    with torch.no_grad():
        expected = model(x)
        if fuse == 'mmcv':
            cnn = pytest.importorskip('mmcv.cnn')
            fused = cnn.fuse_conv_bn(copy.deepcopy(model))
        else:
            fused = copy.deepcopy(model)
            for layer in fused.modules():
                if isinstance(layer, RepConv):
                    for branch in layer.convs:
                        branch.conv = nn.utils.fuse_conv_bn_eval(
                            branch.conv, branch.norm)
                        branch.norm = nn.Identity()
        assert any(isinstance(m, nn.Identity) for m in fused.modules())
        assert_close(fused(x), expected, rtol=1e-9, atol=1e-9)
        assert_close(reparameterize(fused)(x), expected, rtol=1e-9, atol=1e-9)


class Double(nn.Module):

    def forward(self, kernel):
        return 2 * kernel


def parametrized(conv):
    parametrize.register_parametrization(conv, 'weight', Double())


def replaced(conv):
    conv.forward = lambda x: 3 * nn.Conv2d.forward(conv, x)


@pytest.mark.parametrize('change', [
    parametrized, nn.utils.weight_norm, replaced,
    lambda conv: prune.random_unstructured(conv, 'weight', 0.5)])
@pytest.mark.parametrize('name', [
    'stem.1.convs.0.conv', 'stages.0.blocks.0.ffn.fc1',
    'stages.0.blocks.0.ffn.fc2.op', 'stages.0.blocks.0.token_mixer.mixer.convs.0.conv',
    'stages.1.downsample.0.convs.1.conv'])
def test_changed_convolutions_count(name, change):
    """Right numbers, and no folding of what would be lost."""
    model, x = network(), image()
    change(model.get_submodule(name))
    with ops.plain(), run_branches(model):
        expected = model(x)
    assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    if not name.endswith('fc1'):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(ArgumentError, match='cannot be re-parameterized'):
            reparameterize(model, inplace=True)
        assert_close(model.state_dict(), before)


def test_an_adapter_in_the_place_of_a_layer():
    class Adapter(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv, self.down = conv, nn.Conv2d(48, 144, 1)

        def forward(self, x):
            return self.conv(x) + self.down(x)

    ffn = ConvFFN(48, 144).double().eval()
    ffn.fc1 = Adapter(ffn.fc1).double()
    x = torch.randn(1, 48, 8, 8, dtype=torch.float64)
    expected = ffn.fc2(nn.functional.gelu(ffn.fc1(ffn.conv(x))))
    assert_close(ffn(x), expected)


def test_an_identity_is_not_overwritten():
    model, x = network(), image()
    block = model.stages[0].blocks[0]
    block.ffn = nn.Identity()
    kept = []
    with torch.no_grad():
        block.token_mixer.register_forward_hook(
            lambda m, i, out: kept.extend([out, out.clone()]))
        model(x)
        assert_close(*kept, rtol=0, atol=0)


def test_run_branches_inside_of_itself():
    model = network()
    layer = model.stem[0]
    with run_branches(model):
        with run_branches(model):
            pass
        assert layer.always_branches
    assert not layer.always_branches


def test_printers_find_modules_only():
    for module in network().modules():
        assert all(isinstance(child, nn.Module) for child in module._modules.values())


def test_parts_that_pad_otherwise_or_see_farther():
    """Geometry counts, too: no strip is cut too short, no padding forgotten."""
    x = torch.randn(1, 3, 1024, 256, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last)
    far, padded, wide = network(), network(), network()
    far.stem[1] = RepConv(48, 48, (7, 3), stride=2, groups=48).double().eval()
    for branch in padded.stages[0].blocks[0].token_mixer.mixer.convs:
        branch.conv.padding_mode = 'circular'
    wide.stem[1].convs[0].conv.dilation = wide.stem[1].convs[0].conv.padding = (2, 2)
    for model in (far, padded, wide):
        with torch.no_grad():
            with ops.plain(), run_branches(model):
                expected = model(x)
            assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(ArgumentError, match='numbers of zeros'):
        reparameterize(padded)


@pytest.mark.parametrize('change', [
    lambda m: m.stem.__setitem__(0, nn.Sequential(
        nn.Conv2d(3, 48, 3, 2, 1), nn.BatchNorm2d(48)).double().eval()),
    lambda m: setattr(m.stages[0].blocks[0].ffn, 'conv',
                      nn.Conv2d(48, 48, 7, padding=3, groups=48).double()),
    lambda m: setattr(m.stages[0].blocks[0].token_mixer, 'mixer',
                      nn.Sequential(m.stages[0].blocks[0].token_mixer.mixer)),
    lambda m: m.stem[1].convs.__setitem__(1, nn.Sequential(m.stem[1].convs[1]))])
def test_wrapped_and_replaced_parts_run(change):
    model, x = network(), image()
    change(model)
    with ops.plain(), run_branches(model):
        expected = model(x)
    assert_close(model(x), expected)


def test_a_norm_with_a_forward_of_its_own_is_not_folded():
    class NormAct(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    layer = RepConv(8, 8, (3, 1), groups=8, skip=True).eval()
    layer.skip = NormAct(8).eval()
    with pytest.raises(ArgumentError, match='NormAct'):
        reparameterize(layer)


def test_hooks_on_what_is_folded_already():
    model = network(form='deploy')
    model.stem[0].fused.register_forward_hook(lambda *_: None)
    assert reparameterize(model).deploy
