"""What the tools' command lines share. It imports nothing that takes time.

PyTorch takes seconds. So ``--help`` comes, and a mistake in the arguments is told,
before it is imported: a tool imports what it calls after parsing, and what an argument
may be is known where the argument is used.
"""
import argparse
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any


def run(main: Callable[[], None]) -> None:
    """Call a tool's ``main``, and say in one paragraph what a person can mend.

    Exit codes are 0; 1 for what went wrong; 2, of argparse, for arguments; 130 for
    Ctrl-C; and 141 where nobody reads the output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without a character shows its code. What is printed last must
            # not fail for it, when the work is done.
            stream.reconfigure(errors='backslashreplace')
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print('\nStopped. Files that were finished stay, and are whole; tools/train.py '
              'goes on with --resume.', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(141)
        paragraph = _explain(error)
        if paragraph is None or '--traceback' in sys.argv:
            traceback.print_exc()
        sys.exit(f'error: {paragraph or _report()}')


def make_parser(description: str, **options: Any) -> argparse.ArgumentParser:
    """Return a parser with what all tools take."""
    parser = argparse.ArgumentParser(description=description, **options)
    parser.add_argument('--traceback', action='store_true',
                        help='after a mistake, show where in the program it was met')
    return parser


def positive(text: str) -> int:
    """Parse a positive integer."""
    if not re.fullmatch('[0-9]+', text) or int(text) < 1:
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
    parser.add_argument('--cfg-options', nargs='+', action='extend', type=_setting,
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


def config_from(args: argparse.Namespace) -> Any:
    """Return the config that the arguments describe.

    Raises:
        ArgumentError: There is no such config, it is none, or it has no model.
    """
    from mmfastvit.engine.config import load_config
    from mmfastvit.utils.errors import ArgumentError
    if 'local_rank' in args:
        # MMEngine wants it of every launcher, but takes it from MPI for itself.
        os.environ.setdefault('LOCAL_RANK', os.environ.get(
            'OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank)))
    cfg = load_config(args.config, _parse(args.cfg_options or []), args.work_dir,
                      getattr(args, 'launcher', 'none'))
    if not isinstance(cfg.get('model'), dict):
        raise ArgumentError(
            f'{args.config} describes no model (it has no `model`): give a config as a '
            'whole, for example configs/maskrcnn_fastvit_sa12_coco.py.')
    return cfg


def _setting(text: str) -> str:
    if not text.partition('=')[0] or '=' not in text:
        raise argparse.ArgumentTypeError(
            f'{text}: give KEY=VALUE, for example train_cfg.max_epochs=1')
    return text


def _parse(settings: list[str]) -> dict[str, Any]:
    """Return values by key, read as MMEngine reads them."""
    from mmengine.config import DictAction

    from mmfastvit.utils.errors import ArgumentError
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction)
    try:
        return parser.parse_args(['--cfg-options', *settings]).cfg_options
    except AssertionError as error:  # its own check of brackets
        raise ArgumentError(f'--cfg-options: {error}. Close each bracket, and quote '
                            "what holds one: 'key=(1,2)'.") from error


def _explain(error: Exception) -> str | None:
    try:
        from mmfastvit.apis.explain import explain
    except Exception:  # mmfastvit itself cannot be imported, which is the error
        return None
    return explain(error)


def _report() -> str:
    from importlib.metadata import PackageNotFoundError, version
    versions = []
    for package in ('mmfastvit', 'torch', 'mmengine', 'onedl-mmengine'):
        try:
            versions.append(f'{package} {version(package)}')
        except PackageNotFoundError:
            pass
    return ('This should not have happened. Please report it to whoever maintains '
            'mmfastvit, with the lines above, the command and the versions: '
            f'{", ".join(versions)}, Python {sys.version.split()[0]}.')


def _nobody_reads() -> bool:
    """Whether the output's reader is gone (``| head``); then it gets no more."""
    try:
        print(flush=True)  # what was in the buffer when it failed is gone
        return False
    except BrokenPipeError:
        # Or the interpreter would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
