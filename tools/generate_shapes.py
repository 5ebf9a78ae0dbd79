"""Generate the data set of coloured shapes."""
import argparse

from mmfastvit.apis.command_line import run
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes


def main() -> None:
    default = ShapesSpec()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('root', nargs='?', default='data/shapes',
                        help='folder to write')
    parser.add_argument('--num-train', type=int, default=default.num_train)
    parser.add_argument('--num-val', type=int, default=default.num_val)
    parser.add_argument('--image-size', type=int, default=default.image_size)
    parser.add_argument('--seed', type=int, default=default.seed)
    args = vars(parser.parse_args())
    root = args.pop('root')
    generate_shapes(root, ShapesSpec(**args))
    print(f'{root} holds the shapes.')


if __name__ == '__main__':
    run(main)
