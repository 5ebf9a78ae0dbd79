"""Print parameters, multiply-accumulates and sizes of feature maps."""
from _command_line import make_parser, run, size


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('names', nargs='*', metavar='VARIANT|CONFIG',
                        help='t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1, mci2, '
                        'mci3, mci4, fastvithd, fastervit_0 … fastervit_6 or '
                        'fastervit_4_21k_224 … 768, or a config, '
                        'whose whole model is summarised (default: FastViT\'s)')
    parser.add_argument('--size', nargs='+', type=size, default=[(256, 256)],
                        metavar='HxW',
                        help='of the input, 512 or 800x1344 (default: 256)')
    args = parser.parse_args()
    if len(args.size) > 1:  # which are two squares for tools/benchmark.py
        parser.error('--size: give one, for example 800x1344, height before width')
    from mmfastvit.apis.summarize import summarize
    print(summarize(args.names, args.size[0]))


if __name__ == '__main__':
    run(main)
