"""Draw ground truth and predictions of test pictures side by side."""
import argparse

from mmfastvit.command_line import (
    add_config_arguments,
    config_from,
    positive,
    run,
)
from mmfastvit.visualize import draw_predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'or a work directory, for its latest')
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument('--num-pictures', type=positive, default=4)
    args = parser.parse_args()
    for path in draw_predictions(config_from(args), args.checkpoint, args.out,
                                 args.num_pictures):
        print(path)


if __name__ == '__main__':
    run(main)
