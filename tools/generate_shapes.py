"""Generate the data set of coloured shapes."""
import argparse

from _command_line import make_parser, positive, run


def main() -> None:
    # What is not given is the data set's own default.
    parser = make_parser(__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('root', nargs='?', default='data/shapes',
                        help='folder to write (default: data/shapes)')
    parser.add_argument('--num-train', type=positive,
                        help='pictures to train on (default: 800)')
    parser.add_argument('--num-val', type=positive,
                        help='pictures to evaluate on (default: 100)')
    parser.add_argument('--image-size', type=positive, metavar='PIXELS',
                        help='height and width, 64 or more (default: 256)')
    parser.add_argument('--seed', type=int, help='of all that is drawn (default: 0)')
    args = vars(parser.parse_args())
    from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes
    args.pop('traceback', None)
    root = args.pop('root')
    generate_shapes(root, ShapesSpec(**args))
    print(f'{root} holds the shapes.')


if __name__ == '__main__':
    run(main)
