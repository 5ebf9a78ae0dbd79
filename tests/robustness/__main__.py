"""Run kinds of inputs, and print the table."""
import argparse
import importlib
import os
import shutil
import tempfile
from pathlib import Path

KINDS = ('checkpoints', 'resumes', 'pictures', 'exported', 'datasets',
         'hands', 'command_lines', 'kills')


def main() -> None:
    parser = argparse.ArgumentParser(prog='robustness', description=__doc__)
    # Python 3.11 holds no argument at all against the choices, too.
    parser.add_argument('kinds', nargs='*', choices=[*KINDS, []],
                        metavar='KIND', help=f'{", ".join(KINDS)} (default: all)')
    parser.add_argument('--seed', type=int, default=0, help='other inputs for another')
    parser.add_argument('--count', type=int, help='inputs of each kind')
    parser.add_argument('--only', type=int, metavar='INDEX',
                        help='run one input again, and keep it')
    parser.add_argument('--out', type=Path, default=Path('robustness'),
                        help='folder for the table, the results and what went wrong')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix='robustness-')).resolve()
    for name in ('HOME', 'XDG_CACHE_HOME', 'MPLCONFIGDIR', 'TORCH_HOME', 'TMPDIR'):
        os.environ[name] = str(folder / 'home')  # nothing of the user's is in reach
    (folder / 'home').mkdir()
    tempfile.tempdir = None
    try:
        _run(args, folder)
    finally:
        if args.only is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run(args: argparse.Namespace, folder: Path) -> None:
    from .run import run, write_results
    from .table import failures, table
    results = {}
    for name in args.kinds or KINDS:
        kind = importlib.import_module(f'robustness.{name}').KIND
        indices = range(kind.count if args.count is None else args.count)
        if args.only is not None:
            indices = range(args.only, args.only + 1)
        results[name] = write_results(
            run(kind, name, args.seed, indices, folder / name,
                keep=args.only is not None), args.out / f'{name}.jsonl')
    if args.only is not None:
        for result in (found[0] for found in results.values()):
            print(f'{folder}\n{result.damage}: {result.outcome}\n{result.words}')
        return
    text = table(results)
    (args.out / 'table.md').write_text(text + '\n')
    (args.out / 'failures.md').write_text(failures(results) + '\n')
    print(text)


if __name__ == '__main__':
    main()
