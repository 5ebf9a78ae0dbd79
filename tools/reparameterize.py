"""Write the deploy form of a checkpoint and the config that loads it, after
comparing it with the train form."""
from pathlib import Path

from _command_line import add_config_arguments, config_from, make_parser, positive, run


def main() -> None:
    parser = make_parser(__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'or a work directory, for its latest')
    parser.add_argument('out', help='file to write, .pth; its config gets '
                        'the same name with .py')
    parser.add_argument('--num-pictures', type=positive, default=4,
                        help='test pictures to compare the forms on')
    args = parser.parse_args()
    from mmfastvit.apis.deploy import reparameterize_checkpoint
    print(reparameterize_checkpoint(config_from(args), args.checkpoint,
                                    args.out, args.num_pictures))
    print(f'{args.out} holds the deploy form, {Path(args.out).with_suffix(".py")} '
          'its config.')


if __name__ == '__main__':
    run(main)
