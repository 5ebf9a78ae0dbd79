"""Training in several processes, on CPUs; with SyncBN on GPUs."""
import copy
import os
import re
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from conftest import ROOT
from helpers import assert_outputs_close, build, distance
from mmfastvit import ArgumentError, FastViT, reparameterize
from mmfastvit.checkpoints.read import load_file
from mmfastvit.engine import distributed
from mmfastvit.engine.config import load_config
from mmfastvit.utils.errors import ProcessError
from training_hooks import losses

TINY = ROOT / 'tests' / 'engine' / 'tiny_classifier.py'
HALF = 'train_dataloader.batch_size=2'
TIMEOUT_S = 300


def start(data, work, *options, config=TINY, launcher='none', rank=None, resume=False,
          gpus=False):
    """Start a training; ``rank`` stands in for srun and mpirun, of two processes."""
    variables = {
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests' / 'engine')]),
        'OMP_NUM_THREADS': '1',
        # Of the rounding of 32-bit arithmetic alone, on GPUs, too.
        'NVIDIA_TF32_OVERRIDE': '0'}
    if not gpus:
        variables['CUDA_VISIBLE_DEVICES'] = '-1'
    python = [sys.executable]
    if launcher == 'pytorch':
        python += ['-m', 'torch.distributed.run', '--standalone',
                   '--nproc_per_node=2']
    elif rank is not None:
        prefix = dict(slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
                      mpi=[f'OMPI_COMM_WORLD_{name}'
                           for name in ('RANK', 'SIZE', 'LOCAL_RANK')])[launcher]
        variables.update(zip(prefix, (str(rank), '2', str(rank))),
                         SLURM_NODELIST='localhost', MASTER_ADDR='127.0.0.1')
    return subprocess.Popen(
        [*python, ROOT / 'tools' / 'train.py', config, '--launcher', launcher,
         '--work-dir', work, *['--resume'] * resume, '--cfg-options',
         *[f'{split}_dataloader.dataset.data_root={data}/crops'
           for split in ('train', 'val', 'test')], *options],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **variables})


def output_of(process, code=0):
    """Wait for the end; return what was printed."""
    try:
        text, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == code, text
    return text


@pytest.fixture(scope='module')
def alone(shapes, tmp_path_factory):
    """One process with the whole batch, two epochs of three iterations."""
    work = tmp_path_factory.mktemp('alone')
    output_of(start(shapes, work))
    return work


def mean_losses(work):
    one, other = (losses(work, rank) for rank in (0, 1))
    return {i: (one[i] + other[i]) / 2 for i in one}


def test_two_processes_killed_and_resumed_equal_one(alone, shapes, tmp_path):
    text = output_of(
        start(shapes, tmp_path, HALF, 'custom_hooks.1.rank=1',
              'custom_hooks.1.iteration=4', launcher='pytorch'), code=1)
    assert 'Signal 9 (SIGKILL)' in text
    checkpoints = list(tmp_path.glob('**/epoch_*'))
    assert [path.name for path in checkpoints] == ['epoch_1.pth']
    assert load_file(checkpoints[0])['meta']['epoch'] == 1
    text = output_of(start(shapes, tmp_path, HALF, launcher='pytorch', resume=True))
    assert 'resumed epoch: 1, iter: 3' in text
    expected = losses(alone)
    assert expected[5] < 0.9 * expected[0]  # it learns, and not by rounding
    # In float32, whose sums depend on how a batch is shared out.
    assert_close(mean_losses(tmp_path), expected, rtol=2e-6, atol=0)
    before, after = (weights(alone, epoch) for epoch in (1, 2))
    assert distance(weights(tmp_path, 1), before) < 1e-6
    # Rounding is small beside what an epoch changes.
    assert distance(weights(tmp_path, 2), after) < 1e-3 * distance(after, before)
    # The accuracy is of all pictures, not of one process's.
    assert accuracy(text) == accuracy((next(alone.glob('*/*.log'))).read_text())


def test_fastervit_in_two_processes(shapes, tmp_path):
    options = dict(config=TINY.with_name('tiny_fastervit.py'))
    output_of(start(shapes, tmp_path / 'one', 'train_cfg.max_epochs=1', **options))
    output_of(start(shapes, tmp_path / 'two', 'train_cfg.max_epochs=1', HALF,
                    launcher='pytorch', **options))
    assert_close(mean_losses(tmp_path / 'two'), losses(tmp_path / 'one'), rtol=2e-6,
                 atol=0)


def weights(work, epoch):
    state = load_file(work / f'epoch_{epoch}.pth')['state_dict']
    return torch.cat([tensor.flatten() for tensor in state.values()])


def accuracy(log):
    return re.findall(r'accuracy/top1: ([\d.]+)', log)[-1]


@pytest.mark.parametrize('launcher', distributed.LAUNCHERS)
def test_launchers_pass_through(monkeypatch, launcher):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    cfg = load_config(TINY, {'sync_bn': 'torch'}, launcher=launcher)
    with distributed.cpu_processes(cfg):
        pass
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg == dict(
        broadcast_buffers=False, find_unused_parameters=False, device_ids=None)
    assert cfg.sync_bn is None


@pytest.mark.parametrize('launcher, device', [('none', 'cpu'), ('pytorch', 'cuda')])
def test_one_process_and_gpus_are_left_alone(monkeypatch, launcher, device):
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    cfg = load_config(TINY, {'sync_bn': 'torch'}, launcher=launcher)
    before = copy.deepcopy(cfg.to_dict())
    with distributed.cpu_processes(cfg):
        assert cfg.to_dict() == before


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_slurm_and_mpi_pass_through(alone, shapes, tmp_path, monkeypatch, launcher):
    with socket.socket() as port:
        port.bind(('127.0.0.1', 0))
        monkeypatch.setenv('MASTER_PORT', str(port.getsockname()[1]))
    ranks = [start(shapes, tmp_path, HALF, 'train_cfg.max_epochs=1',
                   launcher=launcher, rank=rank) for rank in (0, 1)]
    texts = [output_of(process) for process in ranks]
    assert "'backend': 'gloo'" in texts[0]
    expected = losses(alone)
    assert_close(mean_losses(tmp_path), {i: expected[i] for i in range(3)})


def test_live_batch_norms(shapes, tmp_path):
    """Losses differ from one process's; what is trained is one model all the same."""
    text = output_of(start(shapes, tmp_path, HALF, 'model.backbone.norm_eval=False',
                           'sync_bn=torch', 'custom_hooks.1.type=SyncBuffersHook',
                           launcher='pytorch'))
    assert "sync_bn='torch' is left out" in text
    one, other = (load_file(tmp_path / f'weights_{rank}.pth') for rank in (0, 1))
    assert_close(one, other, rtol=0, atol=0)
    assert one['backbone.stem.0.convs.0.norm.num_batches_tracked'] == 6


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_sync_bn_equals_one_process(shapes, tmp_path):
    live = ['model.backbone.norm_eval=False', 'sync_bn=torch']
    output_of(start(shapes, tmp_path / 'one', *live, gpus=True))
    output_of(start(shapes, tmp_path / 'two', *live, HALF, launcher='pytorch',
                    gpus=True))
    assert_close(mean_losses(tmp_path / 'two'), losses(tmp_path / 'one'),
                 rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('device', ['cpu', pytest.param(
    'cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(),
                                     reason='needs a GPU'))])
def test_reparameterize_folds_sync_bn(device):
    model = build('sa12', double=False).eval()
    sync = convert_sync_batchnorm(copy.deepcopy(model)).eval()
    assert any(isinstance(m, nn.SyncBatchNorm) for m in sync.modules())
    folded, expected = (reparameterize(m).to(device) for m in (sync, model))
    norms = [m for m in folded.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == 4  # on the outputs, which are no part of the trunk
    assert_close(folded.state_dict(), expected.state_dict(), rtol=0, atol=0)
    x = torch.randn(1, 3, 64, 64, device=device)
    with torch.no_grad():
        assert_close(folded(x), expected(x), rtol=0, atol=0)
        assert_outputs_close(sync.to(device)(x), expected(x), 1e-5)


def test_cpus_refuse_a_model_with_sync_bn(monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    cfg = load_config(TINY, launcher='pytorch')
    init_process_group('gloo', store=HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ArgumentError, match=r"norm_cfg=dict\(type='BN'\)"):
            with distributed.cpu_processes(cfg):
                DistributedDataParallel(FastViT('t8', norm_cfg=dict(type='SyncBN')))
        with distributed.cpu_processes(cfg):
            DistributedDataParallel(FastViT('t8'))
    finally:
        destroy_process_group()


@pytest.mark.parametrize('launcher, variables, message', [
    ('none', {}, None),
    ('none', dict(TORCHELASTIC_RUN_ID='1', WORLD_SIZE='1'), None),
    ('none', dict(TORCHELASTIC_RUN_ID='1', WORLD_SIZE='2'), 'no --launcher pytorch'),
    ('pytorch', dict(RANK='0'), None),
    ('pytorch', {}, 'that torchrun starts, but RANK is not set'),
    ('slurm', {}, 'that srun starts, but SLURM_PROCID'),
    ('mpi', {}, 'that mpirun starts, but OMPI_COMM_WORLD_RANK'),
])
def test_launcher_must_have_started_the_process(monkeypatch, launcher, variables,
                                                message):
    for name in ('TORCHELASTIC_RUN_ID', 'WORLD_SIZE', 'RANK'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if message is None:
        distributed.check_launcher(launcher)
    else:
        with pytest.raises(ArgumentError, match=message):
            distributed.check_launcher(launcher)


@pytest.mark.parametrize('error, lost', [
    (RuntimeError('[gloo/transport/tcp/pair.cc] Connection closed by peer'), True),
    (torch.distributed.DistBackendError('NCCL error'), True),
    (RuntimeError('CUDA out of memory'), False),
])
def test_a_lost_process_is_named(error, lost):
    with pytest.raises(ProcessError if lost else RuntimeError) as caught:
        with distributed.lost_process('work_dirs/a'):
            raise error
    assert isinstance(caught.value, ProcessError) == lost
    if lost:
        assert 'in work_dirs/a are whole' in str(caught.value)
        assert str(error) in str(caught.value)


def test_processes_without_gpus_need_an_address(monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    for name, value in dict(SLURM_PROCID='0', SLURM_NTASKS='1', RANK='', WORLD_SIZE='',
                            LOCAL_RANK='', MASTER_PORT='').items():
        monkeypatch.setenv(name, value)
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    cfg = load_config(TINY, launcher='mpi')
    with pytest.raises(ArgumentError, match='set MASTER_ADDR'):
        distributed.join_on_cpus(cfg)
    with socket.socket() as port:
        port.bind(('127.0.0.1', 0))
        monkeypatch.setenv('MASTER_PORT', str(port.getsockname()[1]))
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    cfg.launcher = 'slurm'
    distributed.join_on_cpus(cfg)
    try:
        assert torch.distributed.get_backend() == 'gloo'
        distributed.join_on_cpus(cfg)  # joined already
    finally:
        destroy_process_group()
