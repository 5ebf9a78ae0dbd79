"""Runs that go on from a checkpoint, or start from one."""
import copy
import gc
import os
import random
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmengine.dist import is_distributed
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from torch.testing import assert_close

from conftest import ROOT
from mmfastvit import CheckpointError
from mmfastvit.checkpoints.read import load_file
from mmfastvit.engine import runner as runners
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import build_runner, train
from toy import ToyMetric, ToyModel, toy_config

BEST = {'default_hooks.checkpoint.save_best': 'rising',
        'default_hooks.checkpoint.rule': 'greater'}


@pytest.fixture(autouse=True)
def _end():
    ToyMetric.value = 0
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The work directory of an unbroken run of two epochs."""
    folder = tmp_path_factory.mktemp('whole')
    train(toy_config(folder))
    return folder


@pytest.fixture(scope='module')
def ready(tmp_path_factory):
    """A runner with all that a resumed file is held against."""
    runner = train(toy_config(tmp_path_factory.mktemp('ready')))
    runner._init_model_weights()
    return runner


def disturb():
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(123)


def first_half(whole, folder):
    folder.mkdir()
    return str(shutil.copy(whole / 'epoch_1.pth', folder))


def rewritten(whole, path, change):
    content = load_file(whole / 'epoch_1.pth')
    change(content)
    torch.save(content, path)
    return str(path)


def assert_equal_runs(one, other):
    one, other = (load_file(folder / 'epoch_2.pth') for folder in (one, other))
    assert_close(one['state_dict'], other['state_dict'], rtol=0, atol=0)
    assert_close(one['optimizer']['state'], other['optimizer']['state'], rtol=0, atol=0)


@pytest.mark.parametrize('changes', [
    {}, {'train_dataloader.num_workers': 2},
    {'train_dataloader.num_workers': 1, 'train_dataloader.persistent_workers': True},
    {'randomness.seed': None}],
    ids=['one process', 'workers', 'persistent workers', 'no seed'])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, changes):
    """With dropout, noise of Python, numpy and torch, and shuffled data."""
    train(toy_config(tmp_path / 'whole', **changes))
    first_half(tmp_path / 'whole', tmp_path / 'halves')
    disturb()
    train(toy_config(tmp_path / 'halves', **changes), 'auto')
    assert_equal_runs(tmp_path / 'whole', tmp_path / 'halves')


def test_validation_does_not_change_training(whole, tmp_path):
    train(toy_config(tmp_path, **{'train_cfg.val_interval': 5}))
    assert_equal_runs(whole, tmp_path)


def test_epochs_draw_other_numbers(tmp_path):
    """As they would not if every worker started from the same seed again."""
    runner = build_runner(toy_config(tmp_path, **{'train_dataloader.num_workers': 1}))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    epochs = []
    for runner.train_loop._iter in (0, 3):
        runner.call_hook('before_train_epoch')
        epochs.append(torch.cat([torch.stack(batch['inputs'])
                                 for batch in runner.train_dataloader]) % 1)
    assert not set(epochs[0].flatten().tolist()) & set(epochs[1].flatten().tolist())


def test_exact_resume_can_be_left_out(tmp_path):
    """Which shows, too, that it is what makes runs equal."""
    train(toy_config(tmp_path / 'whole', exact_resume=False))
    first_half(tmp_path / 'whole', tmp_path / 'halves')
    train(toy_config(tmp_path / 'halves', exact_resume=False), 'auto')
    with pytest.raises(AssertionError, match='not equal'):
        assert_equal_runs(tmp_path / 'whole', tmp_path / 'halves')


def test_runs_by_iteration_go_on(tmp_path):
    changes = {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=4,
                                 val_interval=2),
               'train_dataloader.sampler.type': 'InfiniteSampler',
               'default_hooks.checkpoint': dict(
                   type='CheckpointHook', by_epoch=False, interval=2,
                   max_keep_ckpts=1)}
    with pytest.raises(AssertionError, match='ended'):
        train(toy_config(tmp_path, **changes, **{
            'custom_hooks.0.end': 'assert runner.iter < 3, "ended"',
            'custom_hooks.0.epoch': 0}))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']
    assert train(toy_config(tmp_path, **changes), 'auto').iter == 4
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_4.pth']


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_classifier_equals_an_unbroken_one(shapes, tmp_path, workers):
    """FastViT with drop path, on pictures that are flipped."""
    changes = {'model.backbone.drop_path_rate': 0.5,
               'model.backbone.norm_eval': False,
               'train_dataloader.num_workers': workers,
               'train_dataloader.persistent_workers': workers > 0}
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.dataset.data_root'] = f'{shapes}/crops'

    def config(name):
        cfg = load_config(ROOT / 'tests/engine/tiny_classifier.py', changes,
                          tmp_path / name)
        cfg.train_dataloader.dataset.pipeline.insert(
            2, dict(type='RandomFlip', prob=0.5))
        cfg.experiment_name = f'{tmp_path.name}_{name}'
        return cfg
    train(config('whole'))
    first_half(tmp_path / 'whole', tmp_path / 'halves')
    disturb()
    train(config('halves'), 'auto')
    one, other = (load_file(tmp_path / name / 'epoch_2.pth')['state_dict']
                  for name in ('whole', 'halves'))
    assert_close(one, other, rtol=0, atol=0)


def test_an_average_goes_on(tmp_path):
    hooks = [dict(type='EMAHook', momentum=0.3)]
    train(toy_config(tmp_path / 'whole', custom_hooks=hooks))
    first_half(tmp_path / 'whole', tmp_path / 'halves')
    train(toy_config(tmp_path / 'halves', custom_hooks=hooks), 'auto')
    assert_equal_runs(tmp_path / 'whole', tmp_path / 'halves')
    half = rewritten(tmp_path / 'whole', tmp_path / 'half.pth',
                     lambda c: c['ema_state_dict'].pop('module.head.weight'))
    with pytest.raises(CheckpointError, match='ema_state_dict.*1 missing'):
        train(toy_config(tmp_path / 'c', custom_hooks=hooks), half)


def keep(count):
    return lambda content: [content['state_dict'].pop(name) for name in
                            list(content['state_dict'])[count:]]


@pytest.mark.parametrize('change, message', [
    (keep(0), 'does not fit|holds no state dict'), (keep(3), 'missing'),
    (lambda c: c['state_dict'].update(more=torch.zeros(1)), '1 unexpected'),
    *((lambda c, part=part: c.pop(part), f'holds no {part}') for part in
      ('meta', 'message_hub', 'optimizer', 'param_schedulers')),
    (lambda c: c['param_schedulers'].pop(), 'another number'),
    (lambda c: c['param_schedulers'][0].update(step=3), 'other param_schedulers'),
    (lambda c: c['param_schedulers'][0].update(gamma='1'), 'other param_schedulers'),
    (lambda c: c['optimizer']['param_groups'].pop(), 'other groups'),
    (lambda c: c['optimizer']['param_groups'][0]['params'].pop(), 'other groups'),
    (lambda c: c['optimizer'].update(state=3), 'without state'),
    (lambda c: c['optimizer'].update(step=3), 'optimizer that is none'),
    (lambda c: c['optimizer']['state'].update({99: {}}), 'a parameter 99'),
    *((lambda c, value=value: c['optimizer']['state'][0].update(momentum_buffer=value),
       message) for value, message in (
        (torch.ones(7), r'momentum_buffer \(7,\) for'), ('x', 'a str as momentum'),
        (torch.tensor(float('nan')), 'NaN or infinity as momentum'))),
    (lambda c: c['meta'].update(epoch='1'), 'meta.epoch'),
    (lambda c: c['meta'].update(iter=-1), 'meta.iter'),
    (lambda c: c['meta'].update(seed=[1]), 'meta.seed'),
    (lambda c: c.update(message_hub=[1]), 'no message_hub'),
    (lambda c: c['message_hub'].update(log_scalars=3), 'log_scalars'),
    (lambda c: c['message_hub']['runtime_info'].update(keep_ckpt_ids=['../x']),
     'keep_ckpt_ids'),
    (lambda c: c['message_hub']['runtime_info'].update(best_ckpt='/etc/passwd'),
     'best checkpoint'),
    (lambda c: c['message_hub']['runtime_info'].update(best_score='1'), 'best score'),
    (lambda c: vars(c['message_hub']['log_scalars']['train/loss']).update(
        _log_history=np.ones((2, 2))), 'no list of numbers'),
])
def test_what_a_run_would_not_save_is_refused(whole, ready, tmp_path, change, message):
    path = rewritten(whole, tmp_path / 'changed.pth', change)
    before = copy.deepcopy(ready.model.state_dict())
    with pytest.raises(CheckpointError, match=message):
        ready.resume(path)
    assert_close(ready.model.state_dict(), before, rtol=0, atol=0)


def test_nothing_in_a_resumed_file_runs(whole, tmp_path):
    text = f'open({str(tmp_path / "executed")!r}, "w")'
    victim = tmp_path / 'best_rising_epoch_1.pth'
    victim.write_text('another run\'s')

    def plant(content):
        content['meta'].update(config=text, cfg=text)
        info = content['message_hub']['runtime_info']
        info.update(cfg=text, best_ckpt=str(victim), best_score=0)
        history = content['message_hub']['log_scalars']['train/loss']
        vars(history)['_statistics_methods'] = dict(mean=HistoryBuffer.max)
    path = rewritten(whole, tmp_path / 'planted.pth', plant)
    work = tmp_path / 'work'
    train(toy_config(work, **BEST), path)
    assert_equal_runs(whole, work)
    assert victim.exists() and not (tmp_path / 'executed').exists()
    saved = load_file(work / 'epoch_2.pth')['message_hub']
    assert saved['runtime_info']['cfg'] != text
    assert saved['runtime_info']['best_ckpt'] == str(work / 'best_rising_epoch_2.pth')
    assert vars(saved['log_scalars']['train/loss']).keys() <= {
        'max_length', '_log_history', '_count_history'}


KILLED = """
    import sys
    sys.path[:0] = [{tests!r}]
    from toy import toy_config
    from mmfastvit.engine.runner import train
    train(toy_config({work!r}, **{{
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'custom_hooks.0.epoch': 1,
        'custom_hooks.0.end': 'import os; os.kill(os.getpid(), 9)'}}))
"""


def test_killed_while_saving_with_one_checkpoint_kept(whole, tmp_path):
    work = tmp_path / 'work'
    script = textwrap.dedent(KILLED).format(
        tests=str(ROOT / 'tests' / 'engine'), work=str(work))
    process = subprocess.run(
        [sys.executable, '-c', script], timeout=300, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path),
             'OMP_NUM_THREADS': str(torch.get_num_threads())})  # which sum otherwise
    assert process.returncode == -9, process.stderr
    assert load_file(work / 'epoch_1.pth')['meta']['epoch'] == 1
    train(toy_config(work, **{'default_hooks.checkpoint.max_keep_ckpts': 1}), 'auto')
    assert [path.name for path in work.glob('*.pth')] == ['epoch_2.pth']
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_2.pth')
    assert_equal_runs(whole, work)


def test_the_best_is_deleted_after_the_better_is_saved(tmp_path):
    # The best of epoch 2 is saved when the runner counts 2.
    options = {**BEST, 'custom_hooks.0.epoch': 2, 'train_cfg.max_epochs': 3}
    with pytest.raises(RuntimeError, match='ended'):
        train(toy_config(tmp_path, **options))
    assert [path.name for path in tmp_path.glob('best_*')] == [
        'best_rising_epoch_1.pth']
    train(toy_config(tmp_path, **{**options, 'custom_hooks.0.epoch': None}), 'auto')
    assert [path.name for path in tmp_path.glob('best_*')] == [
        'best_rising_epoch_3.pth']


@pytest.mark.parametrize('pointer', [None, '', '/elsewhere/epoch_9.pth'])
def test_resume_finds_the_newest_whole_file(whole, tmp_path, pointer):
    work = tmp_path / 'work'
    first_half(whole, work)
    (work / 'epoch_2.pth').write_bytes(b'PK damaged')
    if pointer is not None:
        (work / 'last_checkpoint').write_text(pointer)
    train(toy_config(work), 'auto')
    assert_equal_runs(whole, work)


def test_a_fresh_run_says_what_it_replaces(whole, tmp_path, capfd):
    work = tmp_path / 'work'
    first_half(whole, work)
    (work / '.unfinished-99999999-' f'{"0" * 32}-elsewhere').mkdir()
    train(toy_config(work))
    assert 'holds epoch_1.pth of an earlier run' in ''.join(capfd.readouterr())
    train(toy_config(work), str(work / 'epoch_1.pth'))
    assert 'holds epoch_2.pth of a file later' in ''.join(capfd.readouterr())


def test_resume_without_a_checkpoint_starts_from_load_from(whole, tmp_path):
    """Not from nothing, as a job that always says --resume would."""
    cfg = toy_config(tmp_path, load_from=str(whole / 'epoch_2.pth'),
                     **{'optim_wrapper.optimizer.lr': 0.})
    train(cfg, 'auto')
    assert_close(load_file(tmp_path / 'epoch_2.pth')['state_dict']['head.weight'],
                 load_file(whole / 'epoch_2.pth')['state_dict']['head.weight'],
                 rtol=0, atol=0)


def test_load_from_a_backbone_alone_is_refused(whole, tmp_path):
    backbone = {k.removeprefix('backbone.'): v for k, v in load_file(
        whole / 'epoch_1.pth')['state_dict'].items() if k.startswith('backbone.')}
    torch.save(backbone, tmp_path / 'imagenet.pth')
    with pytest.raises(CheckpointError, match='Not one name.*model.backbone.init_cfg'):
        train(toy_config(tmp_path / 'work', load_from=str(tmp_path / 'imagenet.pth')))


@pytest.mark.parametrize('setting', ['load_from', 'model.init_cfg'])
def test_fine_tuning_with_other_classes(whole, tmp_path, setting):
    source = str(whole / 'epoch_1.pth')
    if setting != 'load_from':
        source = dict(type='Pretrained', checkpoint=source)
    cfg = toy_config(tmp_path, **{
        setting: source, 'model.num_classes': 5, 'optim_wrapper.optimizer.lr': 0.,
        'custom_hooks': [dict(type='EMAHook')]})
    train(cfg)
    old, new = (load_file(folder / 'epoch_1.pth')['state_dict']
                for folder in (whole, tmp_path))
    assert_close(new['backbone.0.weight'], old['backbone.0.weight'], rtol=0, atol=0)
    assert new['head.weight'].shape == (5, 4)
    wide = copy.deepcopy(cfg)
    wide.merge_from_dict({'model.width': 8, 'work_dir': str(tmp_path / 'wide'),
                          'experiment_name': f'{tmp_path.name}_wide_{setting}'})
    with pytest.raises(CheckpointError, match='of another shape: backbone'):
        train(wide)


def test_testing_wants_all_heads(whole, tmp_path):
    cfg = toy_config(tmp_path, load_from=str(whole / 'epoch_1.pth'),
                     **{'model.num_classes': 5})
    with pytest.raises(CheckpointError, match='2 of another shape: head'):
        build_runner(cfg).test()


def test_nothing_of_the_process_is_replaced(whole, tmp_path):
    schemes = CheckpointLoader._schemes.copy()
    train(toy_config(tmp_path / 'a'))
    build_runner(toy_config(tmp_path / 'b'))
    assert CheckpointLoader._schemes == schemes
    assert type(get_file_backend(tmp_path)) is LocalBackend
    assert not is_distributed()


def test_tools_leave_nothing_in_the_work_directory(tmp_path):
    runner = build_runner(toy_config(tmp_path / 'work'), keep_log=False)
    runner.test_dataloader.dataset[0]
    folder = runner.work_dir
    assert os.listdir(folder) and not (tmp_path / 'work').exists()
    del runner
    gc.collect()
    assert not os.path.exists(folder)
    # An exported file takes the model's place, which then is not built.
    cfg = toy_config(tmp_path / 'work', **{'model.type': 'NotThere'})
    assert runners.test(cfg, ToyModel(), keep_log=False) == dict(rising=1)
    assert not (tmp_path / 'work').exists()
