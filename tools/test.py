"""Evaluate a checkpoint with the metrics of its config."""
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
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'a work directory, for its latest, or a file of '
                        'tools/export.py')
    args = parser.parse_args()
    from mmfastvit.apis.evaluate import evaluate
    evaluate(config_from(args), args.checkpoint)


if __name__ == '__main__':
    run(main)
