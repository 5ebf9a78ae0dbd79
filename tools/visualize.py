"""Draw predictions: of test pictures beside ground truth, of a picture, a
folder of pictures or a video."""
from _command_line import add_config_arguments, config_from, make_parser, positive, run


def main() -> None:
    parser = make_parser(__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'or a work directory, for its latest')
    parser.add_argument('source', nargs='?', help='picture, folder of pictures or '
                        "video (default: the config's test data)")
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument('--num-pictures', type=positive,
                        help='how many (default: 4 of the test data, all of SOURCE)')
    parser.add_argument('--features', action='store_true',
                        help="draw the backbone's feature maps, too")
    args = parser.parse_args()
    from mmfastvit.apis.visualize import draw_predictions
    for path in draw_predictions(config_from(args), args.checkpoint, args.out,
                                 args.source, args.num_pictures, args.features):
        print(path)


if __name__ == '__main__':
    run(main)
