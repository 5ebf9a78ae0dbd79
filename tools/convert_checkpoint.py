"""Convert a checkpoint of Apple's, timm's or ours to our key names."""
from _command_line import make_parser, run


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', help='file, http(s) address, or the name of '
                        'published weights, apple://mobileclip2_s0 for example')
    parser.add_argument('out', help='file to write, .safetensors or .pth')
    parser.add_argument('--classifier', action='store_true',
                        help='keep neck and head, for an MMPretrain classifier, or '
                        'neck and projection of an image encoder')
    args = parser.parse_args()
    from mmfastvit.apis.convert import convert_checkpoint
    print(convert_checkpoint(args.source, args.out, args.classifier))


if __name__ == '__main__':
    run(main)
