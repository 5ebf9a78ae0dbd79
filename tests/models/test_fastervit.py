"""FasterViT: the official outputs, any size, and every form."""
import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import FASTERVIT_KIND, assert_outputs_close, build, relative_error
from mmfastvit import ArgumentError, FasterViT, ops, reparameterize
from mmfastvit.benchmark.measure import saved_bytes
from mmfastvit.models.fastervit import VARIANTS
from mmfastvit.models.fastervit.carriers import (
    Grid,
    spread,
    to_raster_order,
    to_window_order,
)
from mmfastvit.models.fastervit.key_names import NAMES
from mmfastvit.models.fastervit.positions import GridTerm, PositionEmbedding
from mmfastvit.models.layers import DropPath, PixelNorm
from plain_fastervit import PlainFasterViT

# Of the whole classifier, and without its norm and head (facts, section 10).
PARAMETERS = {
    '0': (31_404_840, 30_890_816), '1': (53_366_696, 52_724_416),
    '2': (75_923_816, 75_153_280), '3': (159_547_944, 158_520_896),
    '4': (365_555_712, 363_983_576), '5': (957_520_552, 954_954_432),
    '6': (1_360_328_872, 1_357_762_752), '4_21k_224': (271_944_224, 270_372_088),
}
SCALED = dict(VARIANTS['0'].__dict__, layer_scale_init_value=1e-5, propagates=True)
TAGS = {  # of the reference: section of the key table, and the variant
    '224x224': ('fixed_224', '0'), '256x320': ('fixed_224', '0'),
    '250x330': ('fixed_224', '0'), '112x112': ('fixed_224', '0'),
    '224x224_layer_scale': ('layer_scale_224', SCALED),
}


def weights_of(section, reference, fill):
    table = json.loads((reference / 'fastervit_0.json').read_text())[section]
    return {k: torch.from_numpy(v) for k, v in fill.fill_all(table).items()}


def filled(section, arch, reference, fill, **kwargs):
    """Return our network with the reference's weights, and its classifier's."""
    found = NAMES.sort(weights_of(section, reference, fill))
    model = FasterViT(arch, **kwargs)
    state = {k: v for k, v in found.backbone.items()
             if k in model.state_dict() or not k.startswith('out_norms.')}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith('out_norms.') for name in missing)
    norm = nn.BatchNorm2d(model.variant.embed_dims[-1])
    norm.load_state_dict({k.removeprefix('out_norms.3.'): v for k, v in
                          found.backbone.items() if k.startswith('out_norms.3.')})
    head = nn.Linear(norm.num_features, 1000)
    head.load_state_dict({k.removeprefix('head.fc.'): v
                          for k, v in found.classifier.items()})
    return model.eval(), nn.Sequential(
        norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-7),
                                              (torch.float32, 1e-5)])
@pytest.mark.parametrize('tag', TAGS)
def test_official_outputs(tag, dtype, tolerance, reference, fill):
    golden = np.load(reference / 'fastervit_0.npz')
    model, end = filled(*TAGS[tag], reference, fill, out_norm_cfg=None)
    model, end = model.to(dtype), end.to(dtype)
    height, width = map(int, tag.split('_')[0].split('x'))
    x = torch.from_numpy(fill.image(height, width)).to(dtype)
    for form in (model, reparameterize(model)):
        with torch.no_grad():
            maps = form(x)
            logits = end(maps[-1])
        for i, (actual, step) in enumerate(zip(maps, golden['channel_step'])):
            stats = torch.stack([actual.mean(), actual.std(),
                                 actual.abs().max()])
            expected = torch.from_numpy(golden[f'{tag}_stats'][i]).to(dtype)
            assert relative_error(stats, expected) < tolerance
            name = f'{tag}_stage{i + 1}'
            if name not in golden:
                continue
            expected = torch.from_numpy(golden[name]).to(dtype)
            assert actual[:, ::step].shape == expected.shape
            assert relative_error(actual[:, ::step], expected) < tolerance, name
        expected = torch.from_numpy(golden[f'{tag}_logits']).to(dtype)
        assert relative_error(logits, expected) < tolerance


def test_a_batch(reference, fill):
    golden = np.load(reference / 'fastervit_0.npz')['224x224_batch2_logits']
    model, end = filled('fixed_224', '0', reference, fill, out_norm_cfg=None)
    x = torch.from_numpy(fill.image(224, 224, 2)).double()
    with torch.no_grad():
        logits = end.double()(model.double()(x)[-1])
    assert relative_error(logits, torch.from_numpy(golden).double()) < 1e-7


def test_carriers_do_not_wander_as_the_official_ones(reference, fill):
    """On 2 x 4 windows the official class deals carriers out to others' windows."""
    golden = np.load(reference / 'fastervit_0.npz')
    model, _ = filled('fixed_224', '0', reference, fill, out_norm_cfg=None)
    x = torch.from_numpy(fill.image(224, 352)).double()
    with torch.no_grad():
        maps = model.double()(x)
    for i in (2, 3):
        official = torch.from_numpy(golden[f'224x352_official_stage{i + 1}'])
        actual = maps[i][:, ::4]
        assert actual.shape == official.shape
        assert relative_error(actual, official.double()) > 0.01


@pytest.mark.parametrize('size', [(224, 352), (64, 400), (100, 40)])
@pytest.mark.parametrize('section, arch', [('fixed_224', '0'),
                                           ('layer_scale_224', SCALED)])
def test_turning_the_picture_turns_the_maps(section, arch, size, reference, fill):
    """Its two axes are alike: what transposes picture and weights transposes maps."""
    model, _ = filled(section, arch, reference, fill, out_norm_cfg=None)
    model = model.double()
    turned = copy.deepcopy(model)
    for name, tensor in turned.state_dict().items():
        if tensor.ndim == 4:
            tensor.copy_(tensor.mT.clone())
        elif tensor.shape[1:] == (2, ):  # the first layer of a network of places
            assert name.endswith('fc1.weight')
            tensor.copy_(tensor.flip(1).clone())
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert_outputs_close([f.mT for f in turned(x.mT)], model(x), 1e-10)


@pytest.mark.parametrize('arch', [
    '0', 'kind', *(pytest.param(arch, marks=pytest.mark.slow)
                   for arch in ('3', '4_21k_224'))])
@pytest.mark.parametrize('size', [(224, 224), (170, 390)])
def test_equals_what_one_would_write_down(arch, size):
    arch = FASTERVIT_KIND if arch == 'kind' else arch
    model, plain = twins(arch)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    found = model(x)
    expected = plain(x)
    assert_outputs_close(found, expected, 1e-10)


def twins(arch, dtype=torch.float64):
    """Return our network and the plain one on the same weights."""
    model = build(arch, double=False, out_norm_cfg=None).eval()
    plain = PlainFasterViT(model.variant).eval()
    state = plain.state_dict()
    own = NAMES.sort(state).backbone
    theirs = dict(zip(own, state))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            state[theirs.pop(name)].copy_(value)
    assert not theirs
    return model.to(dtype), plain.to(dtype)


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameter_counts(arch):
    with torch.device('meta'):
        model = FasterViT(arch, out_norm_cfg=None)
    whole, trunk = PARAMETERS[arch]
    channels = model.out_channels[-1]
    count = sum(p.numel() for p in model.parameters())
    assert count == trunk
    assert count + 2 * channels + 1000 * (channels + 1) == whole


def test_epsilons():
    """Too small for the reference's outputs to show."""
    model = FasterViT('0')
    assert {m.eps for m in model.stem.modules() if isinstance(m, _BatchNorm)} == {1e-4}
    assert {m.eps for m in model.stages[0].modules()
            if isinstance(m, _BatchNorm)} == {1e-5}
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-6 if isinstance(module, PixelNorm) else 1e-5), name
    model = FasterViT('0', norm_cfg=dict(type='BN', eps=1e-3))
    assert {m.eps for m in model.stem.modules() if isinstance(m, _BatchNorm)} == {1e-3}


@pytest.mark.parametrize('grid', [Grid(2, 3, 7, 2), Grid(3, 1, 4, 3), Grid(1, 1, 5, 1)])
def test_orders_are_inverse(grid):
    count = grid.rows * grid.columns * grid.carriers**2
    tokens = torch.arange(2 * count).view(2, -1, 1)
    raster = to_raster_order(tokens, grid)
    assert torch.equal(to_window_order(raster, grid), tokens)
    assert torch.equal(to_raster_order(to_window_order(tokens, grid), grid), tokens)
    # The first window's tokens lie in the first rows and columns of the raster.
    n = grid.carriers
    first = raster[0].view(grid.shape)[:n, :n]
    assert torch.equal(first.flatten(), torch.arange(n * n))


def test_spread_is_nearest():
    tokens = torch.randn(3, 4, 5)
    large = torch.nn.functional.interpolate(
        tokens.view(3, 2, 2, 5).permute(0, 3, 1, 2), size=(7, 7), mode='nearest')
    assert torch.equal(spread(tokens, Grid(1, 3, 7, 2)),
                       large.permute(0, 2, 3, 1).flatten(1, 2))


def test_an_axis_of_one():
    """The formulas divide by zero there; its only coordinate is 0."""
    model = build(dict(FASTERVIT_KIND, carrier_size=1)).eval()
    maps = model(torch.randn(1, 3, 33, 150, dtype=torch.float64))  # one row of windows
    assert all(f.isfinite().all() for f in maps)
    narrow = build(dict(FASTERVIT_KIND, window_sizes=(7, 7, 4, 1))).eval()
    assert all(f.isfinite().all() for f in narrow(
        torch.randn(1, 3, 65, 97, dtype=torch.float64)))


def test_drop_path_is_per_picture_and_per_window():
    model = FasterViT('0')
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.2)
    drop = DropPath(0.5).train()
    kept = drop(torch.ones(1000, 4, 8))
    assert ((kept == 0).all((1, 2)) | (kept == 2).all((1, 2))).all()
    assert 0.4 < (kept != 0).double().mean() < 0.6


def test_no_batch_norm_or_layer_scale_is_left_in_the_deploy_form():
    deployed = reparameterize(build(FASTERVIT_KIND, out_norm_cfg=None))
    assert deployed.deploy
    assert not [m for m in deployed.modules() if isinstance(m, _BatchNorm)]
    # But for the one that carrier tokens are scaled by where they join the windows.
    assert [name for name in deployed.state_dict() if 'layer_scale' in name] == [
        'stages.2.blocks.1.carrier.attn.proj.layer_scale']


class Positions:
    """Counts how often networks of places run."""

    def __init__(self, model):
        self.runs = 0
        for module in model.modules():
            if isinstance(module, GridTerm):
                module.compute = self._count(module.compute)

    def _count(self, compute):
        def run(*args):
            self.runs += 1
            return compute(*args)
        return run

    def took(self):
        runs, self.runs = self.runs, 0
        return runs


def test_positions_are_computed_once_for_each_grid():
    model = build(FASTERVIT_KIND, double=False).eval()
    terms = sum(isinstance(module, GridTerm) for module in model.modules())
    of_carriers = 4  # two in each of two blocks
    x, wide = torch.randn(1, 3, 150, 150), torch.randn(1, 3, 150, 300)
    positions = Positions(model)

    def run(x):
        with torch.no_grad():
            return model(x)

    before = run(x)
    assert positions.took() == terms
    assert_close(run(x), before, rtol=0, atol=0)
    assert positions.took() == 0
    run(wide)
    assert positions.took() == of_carriers
    for change in (lambda: model.train().eval(),
                   lambda: model.load_state_dict(model.state_dict()),
                   lambda: model.double().float()):
        change()
        run(x)
        assert positions.took() == terms
    # Weights that change where nobody says so.
    term = model.stages[3].blocks[0].window_embed
    with torch.no_grad():
        term.fc2.weight.mul_(2)
    changed = run(x)
    assert positions.took() == 1
    assert not torch.equal(changed[3], before[3])
    with torch.inference_mode():
        model(x)
    model.requires_grad_(False)
    model(x.requires_grad_())[0].sum().backward()  # not on tensors of inference mode
    positions.took()
    model.requires_grad_(True)
    sum(f.sum() for f in model(x)).backward()
    assert positions.took() == terms
    assert all(p.grad is not None for p in term.parameters())
    seen = []
    term.fc1.register_forward_hook(lambda *args: seen.append(args))
    run(x), run(x)
    assert len(seen) == 2


def test_few_grids_are_kept():
    term = PositionEmbedding(3).eval()
    for n in range(100):
        with torch.no_grad():
            term(2, n + 1)
    assert len(term._kept) <= 4
    assert not copy.deepcopy(term)._kept


@pytest.mark.parametrize('live', [False, True])
def test_saves_less_than_what_one_would_write_down(live):
    ours, plain = twins('0', torch.float32)
    x = torch.randn(1, 3, 512, 512).to(memory_format=torch.channels_last)
    found = []
    for model in (ours.to(memory_format=torch.channels_last), plain):
        model.train(live)
        for module in model.modules():
            if isinstance(module, DropPath):
                module.rate = 0.
        with saved_bytes(model) as saved:
            maps = model(x)
        found.append(saved.total)
        del maps
    assert found[0] < 0.6 * found[1]


class Copies(TorchDispatchMode):
    """Counts the values that copies of maps write."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ('copy_', 'clone', '_to_copy', 'constant_pad_nd', 'cat'):
            self.values += args[0].numel() if name == 'copy_' else out.numel()
        return out


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('size', [(28, 21), (30, 17), (3, 40)])
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_windows_and_back_are_one_copy_each(size, layout, grad):
    x = torch.randn(2, 8, *size).to(memory_format=layout).requires_grad_(grad)
    with Copies() as copies:
        windows = ops.to_windows(x, 7)
    assert copies.values == x.numel()
    with Copies() as copies:
        back = ops.from_windows(windows, 7, x.shape)
    assert copies.values == x.numel()
    assert back.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(back, x)
    assert torch.equal(windows, ops.to_windows.plain(x, 7))
    assert torch.equal(back, ops.from_windows.plain(windows, 7, x.shape))
    if grad:
        with Copies() as copies:
            back.backward(x.detach())
        # A leaf gets its gradient in its own format, by a copy of PyTorch's.
        assert copies.values == (2 if layout == torch.channels_last else 3) * x.numel()
        assert torch.equal(x.grad, x)


def test_twenty_steps_resumed_are_twenty_steps():
    """With stochastic depth: model, optimizer and random state are all there is."""
    x = torch.randn(2, 3, 128, 128)

    def start():
        model = build(FASTERVIT_KIND, double=False, drop_path_rate=0.3).train()
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)

    def go_on(model, optimizer):
        for _ in range(10):
            optimizer.zero_grad()
            sum((f * f).mean() for f in model(x)).backward()
            optimizer.step()

    model, optimizer = start()
    go_on(model, optimizer)
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict())), \
        torch.get_rng_state()
    go_on(model, optimizer)
    other, its_optimizer = start()
    for part, state in zip((other, its_optimizer), kept[0]):
        part.load_state_dict(state)
    torch.set_rng_state(kept[1])
    go_on(other, its_optimizer)
    assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_hooks_see_what_modules_returned():
    model = build(FASTERVIT_KIND).eval().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 128, 150, dtype=torch.float64)
    kept, copies = {}, {}

    def keep(name):
        def hook(module, inputs, output):
            outputs = output if isinstance(output, tuple) else (output, )
            kept[name] = [t for t in outputs if t is not None]
            copies[name] = [t.clone() for t in kept[name]]
        return hook

    for form in (model, reparameterize(model)):
        with torch.no_grad():
            expected = form(x)
            for name, module in form.named_modules():
                if name and not isinstance(module, nn.ModuleList):
                    module.register_forward_hook(keep(name))
            assert_close(form(x), expected)
        assert_close(kept, copies, rtol=0, atol=0)
        assert {'stem', 'stages.0.blocks.0.conv1', 'stages.2.carriers',
                'stages.2.blocks.0.window.mlp', 'stages.2.blocks.0.carrier.attn',
                'stages.3.blocks.0.window_embed'} <= set(kept)


@pytest.mark.parametrize('arch, message', [
    (dict(FASTERVIT_KIND, num_heads=(2, 2, 3, 8)), 'do not divide into 3 heads'),
    (dict(FASTERVIT_KIND, window_sizes=(7, 7, 1, 7)), 'no room for 2x2 carrier'),
    (dict(depths=(1, 1, 1, 1)), 'lacks'),
    (dict(FASTERVIT_KIND, token_mixers=('conv', 'conv', 'window', 'mixer')),
     "'mixer' is unknown"),
    (dict(FASTERVIT_KIND, carrier_size=0), 'carrier_size=0'),
    (dict(FASTERVIT_KIND, mlp_ratio=-1), 'mlp_ratio=-1'),
    (dict(FASTERVIT_KIND, stem_channels=2.5), 'stem_channels=2.5'),
    ('7', 'the variants are 0, 1')])
def test_bad_arch(arch, message):
    with pytest.raises(ArgumentError, match=message):
        FasterViT(arch)
