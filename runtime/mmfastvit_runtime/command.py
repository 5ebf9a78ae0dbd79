"""Predict with an exported file, without PyTorch and OpenMMLab.

Needs numpy, opencv-python-headless and onnxruntime (for .onnx) or openvino (for .xml);
pillow for ImageNet's configs.
"""
import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .coco import Result, to_results, write_results
from .drawing import describe, draw
from .errors import PredictionError
from .model import ExportedModel, load
from .pictures import read_picture, write_picture
from .prediction import Prediction
from .sources import PICTURES, image_ids, is_video, list_pictures, open_video


def main() -> None:
    """Run the command line; what a user can mend ends in one paragraph."""
    parser = argparse.ArgumentParser(prog='mmfastvit-predict', description=__doc__)
    parser.add_argument('model', help='file that tools/export.py wrote')
    parser.add_argument('source', help='picture, folder of pictures, or video')
    parser.add_argument('--out', metavar='OUT', help='draw what was found: a picture '
                        'for a picture, a folder for a folder, an .mp4 for a video')
    parser.add_argument('--json', metavar='OUT.json', help='write COCO results')
    parser.add_argument('--score-threshold', type=float, default=0.3,
                        help='least score of objects that are drawn and printed '
                        '(default: 0.3)')
    parser.add_argument('--threads', type=int, help='of the runtime')
    args = parser.parse_args()
    try:
        failed = predict(args)
    except PredictionError as error:
        sys.exit(f'error: {error}')
    if failed:
        sys.exit(f'error: {failed} of the pictures could not be read, see above; the '
                 'others are done.')


def predict(args: argparse.Namespace) -> int:
    """Run the model on all that the arguments name, and return how much failed.

    Raises:
        PredictionError: Nothing can be done, or a result would replace a source.
    """
    source = Path(args.source)
    video = is_video(source)
    paths = [] if video else list_pictures(args.source)
    alone = not video and source.is_file()
    out = args.out and _place(Path(args.out), source, alone, video)
    model = load(args.model, threads=args.threads)
    results: list[Result] = []
    if video:
        _predict_video(model, source, out, args.score_threshold, results)
        failed = 0
    else:
        failed = _predict_pictures(model, paths, out, alone, args.score_threshold,
                                   results if args.json else None)
    if args.json:
        write_results(results, args.json)
    return failed


def _place(out: Path, source: Path, alone: bool, video: bool) -> Path:
    """Return the file or folder to write, which is no source."""
    if alone and (out.is_dir() or out.suffix.lower() not in PICTURES):
        out = out / source.name
    elif video and out.suffix.lower() != '.mp4':
        out = out / f'{source.stem}.mp4'
    elif not (alone or video) and (out.is_file() or out.suffix.lower() in PICTURES):
        raise PredictionError(f'{out} is one picture, {source} a folder: name a folder '
                              'with --out.')
    if out.resolve() == source.resolve():
        raise PredictionError(f'{out} is the source, which would be lost: name another '
                              'place with --out.')
    return out


def _predict_pictures(model: ExportedModel, paths: list[Path], out: Path | None,
                      alone: bool, score_threshold: float,
                      results: list[Result] | None) -> int:
    failed = 0
    for path, image_id in zip(tqdm(paths, disable=None if len(paths) > 1 else True),
                              image_ids(paths)):
        try:
            picture = read_picture(path)
        except PredictionError as error:
            if alone:
                raise
            failed += 1
            tqdm.write(f'error: {error}', file=sys.stderr)
            continue
        found = model(picture)
        if out:
            write_picture(out if alone else out / path.name,
                          draw(picture, found, score_threshold))
        if results is not None:
            results += to_results(found, image_id, path.name)
        for line in describe(found, score_threshold):
            tqdm.write(line if alone else f'{path.name}: {line}')
    return failed


def _predict_video(model: ExportedModel, source: Path, out: Path | None,
                   score_threshold: float, results: list[Result]) -> None:
    video = open_video(source)
    with _video_writer(out, video.rate) as write:
        for i, frame in enumerate(tqdm(video, total=video.count or None, disable=None)):
            found: Prediction = model(frame)
            write(draw(frame, found, score_threshold))
            results += to_results(found, i, source.name)


@contextmanager
def _video_writer(path: Path | None, rate: float) -> Iterator:
    """Yield what takes frames; the file appears when all of them are written."""
    if path is None:
        yield lambda frame: None
        return
    unfinished = path.with_name(f'.unfinished-{os.getpid()}-{path.name}')
    writer = None

    def write(frame: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'),
                                     rate, frame.shape[1::-1])
            if not writer.isOpened():
                raise PredictionError(f'{path} cannot be written: OpenCV has no writer '
                                      'for it. Name an .mp4 in a folder you may write '
                                      'to.')
        writer.write(frame)

    try:
        yield write
        if writer is None:
            raise PredictionError('the video holds no frame that OpenCV reads.')
        writer.release()
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == '__main__':
    main()
