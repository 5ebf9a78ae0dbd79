"""Generate a data set of hands in FreiHAND's layout."""
import argparse

from _command_line import make_parser, positive, run


def main() -> None:
    # What is not given is the data set's own default.
    parser = make_parser(__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('root', nargs='?', default='data/hands',
                        help='folder to write (default: data/hands)')
    parser.add_argument('--num-train', type=positive,
                        help='pictures to train on (default: 1600)')
    parser.add_argument('--num-evaluation', type=positive,
                        help='pictures to evaluate on (default: 200)')
    parser.add_argument('--image-size', type=positive, metavar='PIXELS',
                        help='height and width, 64 or more (default: 128)')
    parser.add_argument('--seed', type=int, help='of all that is drawn (default: 0)')
    args = vars(parser.parse_args())
    from mmfastvit.datasets.hands import HandsSpec, generate_hands
    args.pop('traceback', None)
    root = args.pop('root')
    generate_hands(root, HandsSpec(**args))
    print(f'{root} holds the hands.')


if __name__ == '__main__':
    run(main)
