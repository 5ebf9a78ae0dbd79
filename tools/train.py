"""Train a detector, segmentor or classifier from a config."""
from _command_line import (
    add_config_arguments,
    add_launcher_arguments,
    config_from,
    make_parser,
    run,
)


def main() -> None:
    parser = make_parser(__doc__)
    add_config_arguments(parser)
    add_launcher_arguments(parser)
    parser.add_argument('--resume', nargs='?', const='auto',
                        metavar='CHECKPOINT',
                        help='go on from a checkpoint, by default from the '
                        'latest in the work directory')
    parser.add_argument('--amp', nargs='?', const='float16',
                        choices=['float16', 'bfloat16'],
                        help='train in mixed precision, by default float16')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the batch size')
    args = parser.parse_args()
    from mmfastvit.engine.runner import train
    train(config_from(args), args.resume, args.amp, args.auto_scale_lr)


if __name__ == '__main__':
    run(main)
