"""What makes more of a machine: precision, memory, steps and their sizes."""
import copy
import math
import pickle
from itertools import pairwise
from unittest.mock import Mock

import pytest
import torch
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.testing import assert_close

from conftest import ROOT
from helpers import build, distance
from mmfastvit import ArgumentError, FastViT, reparameterize
from mmfastvit.checkpoints.read import load_file
from mmfastvit.engine import compiling, runner
from mmfastvit.engine.config import load_config
from mmfastvit.models.reparam import run_branches
from training_hooks import Record, losses

TINY = ROOT / 'tests' / 'engine' / 'tiny_classifier.py'
BF16 = torch.finfo(torch.bfloat16).eps / 2  # the largest rounding error, relative


@pytest.fixture
def config(shapes, tmp_path, monkeypatch):
    """Return a tiny classifier's config; ``changes`` are dotted keys."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    def load(name='run', **changes):
        for split in ('train', 'val', 'test'):
            changes[f'{split}_dataloader.dataset.data_root'] = f'{shapes}/crops'
        cfg = load_config(TINY, changes, tmp_path / name)
        cfg.experiment_name = f'{tmp_path.name}_{name}'  # MMEngine keeps one of each
        return cfg
    yield load
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('form', ['branches', 'kernel', 'deploy'])
@pytest.mark.parametrize('arch', ['t8', 'sa12'])
def test_bfloat16_autocast(arch, form):
    """Errors of independent roundings add up like a random walk."""
    model = build(arch, double=False).eval()
    deployed = reparameterize(model)
    roundings = sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in deployed.modules())
    if form == 'deploy':
        model = deployed
    x = torch.randn(2, 3, 64, 64)
    if form == 'branches':
        with run_branches(model):
            exact, rounded = both_precisions(model, x)
    else:
        exact, rounded = both_precisions(model, x)
    for one, other in zip(rounded[0], exact[0]):
        assert distance(one, other) < math.sqrt(roundings) * BF16
    for name, gradient in rounded[1].items():  # each also went forward
        error = distance(gradient, exact[1][name])
        assert error < math.sqrt(2 * roundings) * BF16, name


def test_bfloat16_autocast_with_live_norms():
    """Norms over few values amplify rounding; the direction has to be right."""
    exact, rounded = both_precisions(build('sa12', double=False).train(),
                                     torch.randn(2, 3, 128, 128))
    one, other = (torch.cat([g.flatten() for g in gradients.values()])
                  for _, gradients in (rounded, exact))
    assert torch.isfinite(one).all()
    assert torch.cosine_similarity(one, other, 0) > 0.99


def both_precisions(model, x):
    """Return maps and gradients in float32, and under autocast."""
    results = []
    for enabled in (False, True):
        twin = copy.deepcopy(model)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=enabled):
            features = twin(x)
        torch.manual_seed(1)
        sum((f.float() * torch.randn(f.shape)).mean() for f in features).backward()
        results.append(([f.detach().float() for f in features],
                        {n: p.grad for n, p in twin.named_parameters()}))
    return results


@pytest.mark.parametrize('amp, changes', [
    ('float16', {}), ('bfloat16', {}),
    (None, {'optim_wrapper.type': 'AmpOptimWrapper'})])
def test_mixed_precision_needs_a_gpu(config, monkeypatch, amp, changes):
    monkeypatch.setattr(runner, 'get_device', lambda: 'cpu')
    with pytest.raises(ArgumentError, match='needs a GPU.*leave out --amp'):
        runner.train(config(**changes), amp=amp)


@pytest.mark.parametrize('amp, loss_scale', [('float16', 'dynamic'), ('bfloat16', 1.)])
def test_mixed_precision_settings(config, monkeypatch, amp, loss_scale):
    monkeypatch.setattr(runner, 'get_device', lambda: 'cuda')
    build_runner = Mock()
    monkeypatch.setattr(runner, 'build_runner', build_runner)
    cfg = config()
    runner.train(cfg, amp=amp)
    build_runner.assert_called_once_with(cfg, for_training=True)
    wanted = dict(type='AmpOptimWrapper', dtype=amp, loss_scale=loss_scale)
    assert {**cfg.optim_wrapper, **wanted} == cfg.optim_wrapper


@pytest.mark.skipif(get_device() != 'cuda', reason='needs a GPU')
@pytest.mark.parametrize('amp', ['float16', 'bfloat16'])
def test_mixed_precision(config, amp):
    cfg = config()
    trained = runner.train(cfg, amp=amp)
    assert trained.optim_wrapper.cast_dtype == getattr(torch, amp)
    assert all(math.isfinite(loss) for loss in losses(cfg.work_dir).values())


@pytest.mark.skipif(torch.__version__ < '2.7', reason='operators are kept since')
def test_a_compiled_backbone_trains_to_the_same_weights(config):
    found = []
    for options in (False, dict(backend='aot_eager')):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        trained = runner.train(config(f'{bool(options)}', compile_backbone=options))
        graphs = torch._dynamo.utils.counters['stats']['unique_graphs']
        assert bool(graphs) == bool(options)
        found.append(trained.model.state_dict())
    torch._dynamo.reset()
    assert_close(*found)


@pytest.mark.parametrize('changes, match', [
    ({'compile_backbone': 'true'}, "'true': allowed are True, False or a dict.*mode"),
    ({'compile_backbone.mdoe': 'default'}, "'mdoe'.*allowed are.*mode"),
    ({'compile_backbone': True, 'model.backbone.with_cp': True}, 'with_cp exclude')])
def test_what_compiling_refuses(config, changes, match):
    with pytest.raises(ArgumentError, match=match):
        runner.train(config(**changes))


def test_compiling_is_for_one_process(monkeypatch):
    monkeypatch.setattr(compiling, 'is_distributed', lambda: True)
    with pytest.raises(ArgumentError, match='for one process'):
        compiling.compile_backbone(FastViT('t8'), True)


def test_accumulated_gradients_equal_the_whole_batch(config):
    whole, halves = config('whole'), config('halves', **{
        'train_dataloader.batch_size': 2, 'optim_wrapper.accumulative_counts': 2})
    steps = []
    for cfg, every in ((whole, 1), (halves, 2)):
        record, = (h for h in runner.train(cfg).hooks if isinstance(h, Record))
        weights = record.weights
        assert len(weights) == 6 * every
        if every == 2:  # no step after half a batch
            assert_close(weights[2::2], weights[1:-1:2], rtol=0, atol=0)
        steps.append([after - before for before, after in
                      pairwise(weights[every - 1::every])])
    # Rounding the weights leaves so much of steps that are 1/2000 of them.
    for one, other in zip(*steps):
        assert distance(other, one) < 1e-3


def test_averaged_weights_are_what_is_saved_and_tested(config, tmp_path):
    momentum, predictions = 0.3, tmp_path / 'predictions.pkl'
    history = []
    for epochs, resume in ((1, None), (2, 'auto')):
        cfg = config(**{'model.backbone.norm_eval': False,
                        'train_cfg.max_epochs': epochs})
        cfg.custom_hooks.append(dict(type='EMAHook', momentum=momentum))
        hooks = runner.train(cfg, resume).hooks
        record, = (h for h in hooks if isinstance(h, Record))
        history += record.weights
    assert len(history) == 6
    average = history[0]
    for weights in history[1:]:
        average = average.lerp(weights, momentum)
    checkpoint = load_file(tmp_path / 'run' / 'epoch_2.pth')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    names = [name for name, _ in model.named_parameters()]
    averaged, last = (
        torch.cat([checkpoint[key][prefix + name].flatten() for name in names])
        for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')))
    assert_close(averaged, average.cpu())
    assert_close(last, history[-1].cpu(), rtol=0, atol=0)
    assert distance(averaged, last) > 1e-3
    # A work directory means its latest checkpoint, and that the averaged weights.
    runner.load_weights(model, tmp_path / 'run')
    assert_close(model.state_dict(), checkpoint['state_dict'], rtol=0, atol=0)
    test_cfg = config('test')
    test_cfg.custom_hooks = cfg.custom_hooks
    test_cfg.test_evaluator = dict(type='DumpResults', out_file_path=str(predictions))
    runner.test(test_cfg, tmp_path / 'run')
    scores = torch.stack([p['pred_score'] for p in pickle.loads(
        predictions.read_bytes())])
    loader = Runner.build_dataloader(test_cfg.test_dataloader)
    for form in (model.eval(), reparameterize(model)):
        found = torch.cat([torch.stack([p.pred_score for p in form.test_step(batch)])
                           for batch in loader])
        assert_close(found, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('norm_eval', [False, True])
def test_checkpointing_saves_memory(norm_eval):
    x = torch.randn(2, 3, 64, 64)
    model = build('sa12', double=False, norm_eval=norm_eval).train()
    twin = FastViT('sa12', norm_eval=norm_eval, with_cp=True).train()
    twin.load_state_dict(model.state_dict())
    size, gradients = saved_bytes(model, x)
    size_with_cp, gradients_with_cp = saved_bytes(twin, x)
    assert size_with_cp < 0.5 * size
    assert_close(gradients_with_cp, gradients)


def saved_bytes(model, x):
    """Return the bytes kept for the backward pass, and its gradients."""
    known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), x)}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # held, so that no address repeats
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(f.square().mean() for f in model(x))
    size = sum(storage.nbytes() for storage in kept.values())
    loss.backward()
    return size, {name: p.grad for name, p in model.named_parameters()}


def test_learning_rates_decay_by_stage():
    cfg = load_config(ROOT / 'configs' / 'retinanet_fastvit_sa12_custom.py')
    model = nn.ModuleDict(dict(backbone=FastViT('sa12'), bbox_head=nn.Linear(2, 2)))
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    base = cfg.optim_wrapper.optimizer.lr
    rates = {id(p): group['lr'] for group in optim_wrapper.param_groups
             for p in group['params']}
    steps = {'backbone.stem': 4, 'backbone.stages.0': 4, 'backbone.stages.1': 3,
             'backbone.stages.2': 2, 'backbone.stages.3': 1,
             'backbone.out_norms': 0, 'bbox_head': 0}
    seen = set()
    for name, parameter in model.named_parameters():
        part, = (part for part in steps if name.startswith(part + '.'))
        assert_close(rates[id(parameter)], base * 0.7**steps[part])
        seen.add(part)
    assert seen == set(steps)
