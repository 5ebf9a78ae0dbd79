"""What the tools' command lines share."""
import argparse
import os
import sys
import traceback
from collections.abc import Callable

from mmengine.config import Config, DictAction

from .runner import load_config


def run(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; a mistake of the user's ends in one paragraph.

    That is an error that this package raised on purpose. One from anywhere
    else may be a bug and keeps its traceback.
    """
    try:
        main()
    except (OSError, RuntimeError, ValueError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not frame.f_globals.get('__name__', '').startswith('mmfastvit.'):
            raise
        sys.exit(f'error: {error}')


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
    parser.add_argument('--launcher', default='none',
                        choices=['none', 'pytorch', 'slurm', 'mpi'],
                        help='how several processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)  # older torch launchers


def config_from(args: argparse.Namespace) -> Config:
    """Return the config that the arguments describe."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return load_config(args.config, args.cfg_options, args.work_dir,
                       args.launcher)
