"""Predict with an exported file, without PyTorch and OpenMMLab.

Needs numpy, opencv-python-headless and onnxruntime (for .onnx) or openvino (for .xml);
pillow for ImageNet's configs.
"""
import argparse
import sys
from pathlib import Path

for folder in Path(__file__).resolve().parents:
    # Not as part of its package, which needs PyTorch: runtime/ stands alone.
    sys.path[:0] = [str(path.parent) for path in (
        folder / 'runtime', folder / 'export' / 'runtime',
        folder / 'mmfastvit' / 'export' / 'runtime')
        if (path / 'engines.py').is_file()]

import runtime  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='file that tools/export.py wrote')
    parser.add_argument('picture')
    parser.add_argument('--out', metavar='OUT.png',
                        help='draw what was found (default: print it)')
    parser.add_argument('--score-threshold', type=float, default=0.3,
                        help='least score of objects (default: 0.3)')
    parser.add_argument('--threads', type=int, help='of the runtime')
    args = parser.parse_args()
    model = runtime.load(args.model, threads=args.threads)
    picture = runtime.read_picture(args.picture)
    found = model(picture)
    if args.out:
        runtime.write_picture(args.out, runtime.draw(
            picture, found, model.metadata, args.score_threshold))
    for line in runtime.describe(found, model.metadata, args.score_threshold):
        print(line)


if __name__ == '__main__':
    try:
        main()
    except runtime.PredictionError as error:
        sys.exit(f'error: {error}')
