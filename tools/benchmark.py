"""Time FastViT's forms side by side, and beside timm's network."""
import argparse
from itertools import product

from mmfastvit.apis.command_line import positive, run, size
from mmfastvit.benchmark import Case, benchmark, operations
from mmfastvit.benchmark.contestants import DTYPES, FORMS, MEMORY_FORMATS, MODES
from mmfastvit.benchmark.report import growth, plot, table, write_json
from mmfastvit.models.fastvit import VARIANTS
from mmfastvit.utils.progress import track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', default=['sa12'],
                        metavar='VARIANT|CONFIG',
                        help=f'{", ".join(VARIANTS)}, or a config, whose whole '
                        'model runs on its own data (default: sa12)')
    parser.add_argument('--size', nargs='+', type=size, default=[(512, 512)],
                        help='512 or 800x1344 (default: 512)')
    parser.add_argument('--batch', nargs='+', type=positive, default=[1])
    parser.add_argument('--mode', choices=MODES, default='inference',
                        help='inference, or a training step with the norms on '
                        'running (frozen) or batch statistics (live)')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, …')
    parser.add_argument('--form', nargs='+', choices=FORMS,
                        default=['train', 'deploy'])
    parser.add_argument('--memory-format', nargs='+', choices=MEMORY_FORMATS,
                        default=['channels_last'])
    parser.add_argument('--vs', choices=['timm'],
                        help='compare with timm, on the same weights')
    parser.add_argument('--checkpoint', help='of a config\'s model, or a work '
                        'directory (default: random weights)')
    parser.add_argument('--rounds', type=positive, default=10,
                        help='turns of each contestant (default: 10)')
    parser.add_argument('--operations', action='store_true',
                        help='instead, time each function of mmfastvit.ops beside its '
                        'plain form, on the CPU')
    parser.add_argument('--one-process', action='store_true',
                        help='run all contestants in this process, where the '
                        'memory that one has freed serves the next')
    parser.add_argument('--out', metavar='NAME',
                        help='write NAME.json and a picture, NAME.png')
    args = parser.parse_args()
    if args.operations:
        for case in product(args.names, args.size, args.batch):
            print(operations.table(operations.measure_operations(*case, args.rounds)))
        return
    cases = [Case(name, size, batch, args.mode, args.dtype, args.device,
                  tuple(args.form), tuple(args.memory_format),
                  args.vs == 'timm', args.checkpoint)
             for name, size, batch in product(args.names, args.size, args.batch)]
    results = [result for case in track(cases, 'Measuring')
               for result in benchmark(
                   case, args.rounds, own_processes=not args.one_process)]
    print(table(results))
    print(growth(results))
    if args.out:
        write_json(results, f'{args.out}.json')
        plot(results, f'{args.out}.png')


if __name__ == '__main__':
    run(main)
