"""Print parameters, multiply-accumulates and sizes of feature maps."""
import argparse

from mmfastvit.apis.command_line import positive, run
from mmfastvit.apis.summarize import summarize
from mmfastvit.models.fastvit import VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='VARIANT|CONFIG',
                        help=f'{", ".join(VARIANTS)}, or a config, whose whole '
                        'model is summarised (default: all variants)')
    parser.add_argument('--size', nargs='+', type=positive, default=[256],
                        metavar='PIXELS',
                        help='height and width of the input, or one for both '
                        '(default: 256)')
    args = parser.parse_args()
    if len(args.size) > 2:
        parser.error(f'--size {args.size}: give a height and a width')
    print(summarize(args.names, (args.size[0], args.size[-1])))


if __name__ == '__main__':
    run(main)
