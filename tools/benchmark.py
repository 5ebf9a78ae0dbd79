"""Time the forms of a backbone or a whole model side by side, or beside timm's."""
import os
from itertools import product
from pathlib import Path

from _command_line import make_parser, positive, run, size


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('names', nargs='*', default=['sa12'],
                        metavar='VARIANT|CONFIG',
                        help='t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1, mci2, '
                        'mci3, mci4, fastvithd, fastervit_0 … fastervit_6 or '
                        'fastervit_4_21k_224 … 768, or a config, '
                        'whose whole model runs on its own data (default: sa12)')
    parser.add_argument('--size', nargs='+', type=size, default=[None],
                        metavar='HxW',
                        help='one or several, 512 or 800x1344 (default: 512; of a '
                        'config, what its pipeline makes)')
    parser.add_argument('--batch', nargs='+', type=positive, default=[None],
                        help='one or several numbers of pictures (default: 1; in '
                        'training of a config, what it has)')
    parser.add_argument('--mode', default='inference',
                        help='inference (default), or a training step with the norms '
                        'on running (frozen) or batch statistics (live)')
    parser.add_argument('--dtype', default='float32',
                        help='float32 (default), bfloat16 or float16')
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, …')
    parser.add_argument('--form', nargs='+', default=['train', 'deploy'],
                        help='some of train, deploy (or pytorch), compiled, and in '
                        'files: onnxruntime, onnxruntime-float16, onnxruntime-int8, '
                        'openvino, openvino-float16, openvino-int8 (or int8), ncnn, '
                        'ncnn-float16, executorch, executorch-int8, litert, '
                        'litert-float16, litert-int8 (default: train deploy)')
    parser.add_argument('--memory-format', nargs='+', default=['channels_last'],
                        help='channels_last (default), contiguous or both')
    parser.add_argument('--vs', choices=['timm'],
                        help='compare with timm, on the same weights; a config\'s '
                        'model then has timm\'s backbone')
    parser.add_argument('--checkpoint', help='of a config\'s model, or a work '
                        'directory; deploy and files are then judged by all test data '
                        '(default: random weights)')
    parser.add_argument('--rounds', type=positive, default=10,
                        help='turns of each contestant (default: 10)')
    parser.add_argument('--operations', action='store_true',
                        help='instead, time each function of mmfastvit.ops beside its '
                        'plain form, on the CPU')
    parser.add_argument('--processes', type=positive, default=1,
                        help='run so many of each contestant at the same time, as a '
                        'server does; they share the threads (default: 1)')
    parser.add_argument('--one-process', action='store_true',
                        help='run all contestants in this process, where the '
                        'memory that one has freed serves the next')
    parser.add_argument('--into', metavar='FILE.md',
                        help='put the table of a config\'s files into a document, '
                        'between its lines <!-- files of CONFIG --> and <!-- end -->')
    parser.add_argument('--out', metavar='NAME',
                        help='write NAME.json and a picture, NAME.png')
    args = parser.parse_args()
    # PyTorch's profiler reports a missing GPU as an error, in every process.
    os.environ.setdefault('KINETO_LOG_LEVEL', '5')
    from mmfastvit.benchmark import Case, benchmark, files, operations
    from mmfastvit.benchmark.report import growth, plot, table, write_json
    from mmfastvit.utils.files import check_targets
    from mmfastvit.utils.progress import track
    if args.operations:
        for name, shape, batch in product(args.names, args.size, args.batch):
            print(operations.table(operations.measure_operations(
                name, shape or (512, 512), batch or 1, args.rounds)))
        return
    forms = tuple('deploy' if form == 'pytorch' else form for form in args.form)
    cases = [Case(name, size, batch, args.mode, args.dtype, args.device,
                  forms, tuple(args.memory_format),
                  args.vs == 'timm', args.checkpoint, args.processes)
             for name, size, batch in product(args.names, args.size, args.batch)]
    if args.into:  # before minutes of measuring
        if not all(case.compares_files for case in cases):
            parser.error('--into is for configs, in inference')
        stems = [Path(case.name).stem for case in cases]
        if len(set(stems)) < len(stems):
            parser.error('--into has one table for each config: give one --batch, and '
                         'configs of different names')
        for stem in stems:
            files.places(stem, args.into)
        check_targets([args.into], [*args.names, args.checkpoint])
    if args.out:
        check_targets([f'{args.out}.json', f'{args.out}.png'],
                      [*args.names, args.checkpoint])
    results = [result for case in track(cases, 'Measuring')
               for result in benchmark(
                   case, args.rounds, own_processes=not args.one_process)]
    measured = [result for result in results if not result.refused]
    print(table(measured))
    print(growth(measured))
    if args.out:
        write_json(results, f'{args.out}.json')
        plot(measured, f'{args.out}.png')
    for case in cases:
        if case.compares_files:
            text = files.table([result for result in results if result.case == case])
            print(text)
            if args.into:
                files.insert(text, Path(case.name).stem, args.into)


if __name__ == '__main__':
    run(main)
