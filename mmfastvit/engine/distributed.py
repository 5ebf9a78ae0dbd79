"""Several processes: how they were started, and what CPUs need."""
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size, is_distributed
from mmengine.logging import print_log
from torch import distributed

from mmfastvit.utils.errors import ArgumentError, ProcessError

# What starts the processes, and the variable by which it tells each its rank.
LAUNCHERS = {'pytorch': ('torchrun', 'RANK'),
             'slurm': ('srun', 'SLURM_PROCID'),
             'mpi': ('mpirun', 'OMPI_COMM_WORLD_RANK')}


def check_launcher(launcher: str) -> None:
    """Compare ``launcher`` with how this process was started.

    Raises:
        ArgumentError: The processes would wait for each other in vain, or each
            would train alone and write over the others' checkpoints.
    """
    example = ('For two processes on this machine: torchrun --nproc_per_node=2 '
               'tools/train.py CONFIG --launcher pytorch.')
    if launcher in LAUNCHERS:
        program, variable = LAUNCHERS[launcher]
        if variable not in os.environ:
            raise ArgumentError(
                f'--launcher {launcher} is for processes that {program} starts, '
                f'but {variable} is not set. {example}')
    elif 'TORCHELASTIC_RUN_ID' in os.environ and int(os.environ['WORLD_SIZE']) > 1:
        raise ArgumentError(
            f'torchrun started {os.environ["WORLD_SIZE"]} processes, but they '
            f'got no --launcher pytorch, and would not work together. {example}')


@contextmanager
def cpu_processes(cfg: Config) -> Iterator[None]:
    """Let the runner that is built inside run in processes without a GPU.

    MMEngine would tell DistributedDataParallel about a CUDA device for each. With
    one process, or with GPUs, nothing is changed.

    Raises:
        ArgumentError: The model holds synchronised batch norms.
    """
    if cfg.launcher == 'none' or get_device() != 'cpu':
        yield
        return
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    cfg.model_wrapper_cfg = dict(
        cfg.get('model_wrapper_cfg') or dict(
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False)),
        device_ids=None)
    sync_bn, cfg.sync_bn = cfg.get('sync_bn'), None
    try:
        yield
    except ValueError as error:
        if 'SyncBatchNorm' not in str(error):
            raise
        raise ArgumentError(
            'The model holds SyncBN, which PyTorch runs on GPUs only. For several '
            "processes on CPUs set norm_cfg=dict(type='BN') where the config has "
            'SyncBN; one process needs no change.') from error
    if sync_bn:
        print_log(
            f'sync_bn={sync_bn!r} is left out: PyTorch synchronises batch norms on '
            'GPUs only. Each process normalises its own share of the batch; '
            "custom_hooks=[dict(type='SyncBuffersHook')] averages the running "
            'statistics.', 'current', logging.WARNING)


# By what launchers tell a process its place: its rank, of how many, on its machine.
_PLACES = {
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': [f'OMPI_COMM_WORLD_{name}' for name in ('RANK', 'SIZE', 'LOCAL_RANK')]}


def join_on_cpus(cfg: Config) -> None:
    """Join the other processes where there is no GPU.

    MMEngine does it otherwise, and chooses a CUDA device for each.

    Raises:
        ArgumentError: Nothing tells the address of the first process.
    """
    if cfg.launcher == 'none' or get_device() != 'cpu' or is_distributed():
        return
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    for name, theirs in zip(names, _PLACES.get(cfg.launcher, names)):
        os.environ[name] = os.environ.get(theirs, '0')
    os.environ.setdefault('MASTER_PORT', '29500')
    if cfg.launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(
            ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']],
            check=True, text=True, stdout=subprocess.PIPE).stdout.split()
        os.environ['MASTER_ADDR'] = nodes[0]
    if 'MASTER_ADDR' not in os.environ:
        raise ArgumentError(
            f'--launcher {cfg.launcher} needs the address of the first process: set '
            'MASTER_ADDR, for example to 127.0.0.1 on one machine.')
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    options = {} if seconds is None else dict(timeout=timedelta(seconds=seconds))
    distributed.init_process_group('gloo', **options)


@contextmanager
def lost_process(work_dir: str) -> Iterator[None]:
    """Turn a failed exchange between processes into a :class:`ProcessError`."""
    try:
        yield
    except RuntimeError as error:
        # torch 2.1 has but one of the classes that DistError sums up.
        lost = getattr(distributed, 'DistError', distributed.DistBackendError)
        if not (isinstance(error, lost) or 'gloo/transport' in str(error)):
            raise
        raise ProcessError(
            f'rank {get_rank()} lost another of the {get_world_size()} processes, '
            'which was killed (for want of memory?) or failed with an error of its '
            f'own. The checkpoints in {work_dir} are whole: start all processes '
            f'again with --resume. What PyTorch says: {error}') from error
