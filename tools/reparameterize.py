"""Write the deploy form of a checkpoint, after comparing it with the train
form."""
import argparse

from mmfastvit.command_line import (
    add_config_arguments,
    config_from,
    positive,
    run,
)
from mmfastvit.deploy import reparameterize_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model, '
                        'or a work directory, for its latest')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--num-pictures', type=positive, default=4,
                        help='test pictures to compare the forms on')
    args = parser.parse_args()
    print(reparameterize_checkpoint(config_from(args), args.checkpoint,
                                    args.out, args.num_pictures))
    print(f'{args.out} holds the deploy form; load it with the same config '
          'and model.backbone.deploy=True.')


if __name__ == '__main__':
    run(main)
