"""Draw pictures and ground truth as the model gets them."""
import argparse

from mmfastvit.apis.command_line import (
    add_config_arguments,
    config_from,
    positive,
    run,
)
from mmfastvit.apis.visualize import draw_ground_truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--split', default='train', choices=['train', 'val', 'test'])
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument('--num-pictures', type=positive, default=4)
    args = parser.parse_args()
    for path in draw_ground_truth(config_from(args), args.out, args.split,
                                  args.num_pictures):
        print(path)


if __name__ == '__main__':
    run(main)
