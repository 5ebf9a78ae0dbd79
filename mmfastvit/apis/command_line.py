"""What the tools' command lines share."""
import argparse
import os
import sys
from collections.abc import Callable

from mmengine.config import Config, DictAction

from mmfastvit.engine.config import load_config
from mmfastvit.utils.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; a user's mistake ends in one paragraph."""
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')


def positive(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text}: give a positive integer')
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Parse PIXELS or HEIGHTxWIDTH."""
    sides = [positive(side) for side in text.split('x')]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f'{text}: give 512 or 800x1344')
    return sides[0], sides[-1]


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all tools that read a config take."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir',
                        help='where logs and checkpoints go (default: '
                        'work_dirs/CONFIG_NAME)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE',
                        help='settings that override the config, for example '
                        'train_cfg.max_epochs=1')


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what tools take that run in several processes."""
    parser.add_argument('--launcher', default='none',
                        choices=['none', 'pytorch', 'slurm', 'mpi'],
                        help='how several processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)  # older torch launchers


def config_from(args: argparse.Namespace) -> Config:
    """Return the config that the arguments describe."""
    if 'local_rank' in args:
        # MMEngine wants it of every launcher, but takes it from MPI for itself.
        os.environ.setdefault('LOCAL_RANK', os.environ.get(
            'OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank)))
    return load_config(args.config, args.cfg_options, args.work_dir,
                       getattr(args, 'launcher', 'none'))
