"""Draw the learning curves of one or several training runs."""
from _command_line import make_parser, run


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('runs', nargs='+', help='work directories, or '
                        'scalars.json files')
    parser.add_argument('--out', required=True, help='PNG to write')
    parser.add_argument('--keys', nargs='+', metavar='NAME',
                        help='scalars to draw, for example loss lr '
                        'coco/bbox_mAP (default: all)')
    args = parser.parse_args()
    from mmfastvit.apis.plot_log import plot_runs
    print(plot_runs(args.runs, args.out, args.keys))


if __name__ == '__main__':
    run(main)
