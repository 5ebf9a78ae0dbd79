"""Draw pictures and ground truth as the model gets them."""
from _command_line import add_config_arguments, config_from, make_parser, positive, run


def main() -> None:
    parser = make_parser(__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', default='train', choices=['train', 'val', 'test'])
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument('--num-pictures', type=positive, default=4)
    args = parser.parse_args()
    from mmfastvit.apis.visualize import draw_ground_truth
    for path in draw_ground_truth(config_from(args), args.out, args.split,
                                  args.num_pictures):
        print(path)


if __name__ == '__main__':
    run(main)
