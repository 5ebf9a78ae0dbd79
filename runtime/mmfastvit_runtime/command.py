"""Predict with an exported file, without PyTorch and OpenMMLab.

Needs numpy, opencv-python-headless and onnxruntime (for .onnx) or openvino (for .xml);
pillow for ImageNet's configs.
"""
import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .coco import Result, to_results, write_results
from .drawing import describe, draw
from .errors import PredictionError
from .files import check_targets, whole_file
from .model import ExportedModel, load
from .pictures import read_picture, write_picture
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
    source, model_path = Path(args.source), Path(args.model)
    video = is_video(source)
    paths = [] if video else list_pictures(args.source)
    alone = not video and source.is_file()
    out = _place(Path(args.out), source, alone, video) if args.out else None
    drawn = [] if out is None else [out] if alone or video else [
        out / path.name for path in paths]
    check_targets(
        [*drawn, *([Path(args.json)] if args.json else [])],
        [source, *paths, *(model_path.with_suffix(suffix) for suffix in
                           (model_path.suffix, '.bin', '.onnx.data'))])
    model = load(args.model, threads=args.threads)
    results: list[Result] | None = [] if args.json else None
    if video:
        _predict_video(model, source, out, args.score_threshold, results)
        failed = 0
    else:
        failed = _predict_pictures(model, paths, drawn, args.score_threshold, results)
    if args.json:
        write_results(results, args.json)
    return failed


def _place(out: Path, source: Path, alone: bool, video: bool) -> Path:
    """Return the file to write, of a folder of pictures the folder."""
    if alone and (out.is_dir() or not out.suffix):
        return out / source.name
    if video and (out.is_dir() or out.suffix.lower() != '.mp4'):
        return out / f'{source.stem}.mp4'
    if not (alone or video) and (out.is_file() or out.suffix.lower() in PICTURES):
        raise PredictionError(f'{out} is one picture, {source} a folder: name a folder '
                              'with --out.')
    return out


def _predict_pictures(model: ExportedModel, paths: list[Path], drawn: list[Path],
                      score_threshold: float, results: list[Result] | None) -> int:
    failed, alone = 0, len(paths) == 1
    for i, (path, image_id) in enumerate(zip(
            tqdm(paths, disable=True if alone else None), image_ids(paths))):
        try:
            picture = read_picture(path)
        except PredictionError as error:
            if alone:
                raise
            failed += 1
            tqdm.write(f'error: {error}', file=sys.stderr)
            continue
        found = model(picture)
        if drawn:
            write_picture(drawn[i], draw(picture, found, score_threshold))
        if results is not None:
            results += to_results(found, image_id, path.name)
        for line in describe(found, score_threshold):
            tqdm.write(line if alone else f'{path.name}: {line}')
    return failed


def _predict_video(model: ExportedModel, source: Path, out: Path | None,
                   score_threshold: float, results: list[Result] | None) -> None:
    video = open_video(source)
    with _video_writer(out, video.rate) as write:
        for i, frame in enumerate(tqdm(video, total=video.count or None, disable=None)):
            found = model(frame)
            if out:
                write(draw(frame, found, score_threshold))
            if results is not None:
                results += to_results(found, i, source.name)
            for line in describe(found, score_threshold):
                tqdm.write(f'{i}: {line}')


@contextmanager
def _video_writer(path: Path | None, rate: float
                  ) -> Iterator[Callable[[np.ndarray], None] | None]:
    """Yield what takes frames; the file appears when all of them are written."""
    if path is None:
        yield None
        return
    writer = None
    with whole_file(path) as unfinished:
        def write(frame: np.ndarray) -> None:
            nonlocal writer
            if writer is None:
                writer = cv2.VideoWriter(
                    str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), rate,
                    frame.shape[1::-1])
                if not writer.isOpened():
                    raise PredictionError(f'{path} cannot be written: OpenCV has no '
                                          'writer for it. Name an .mp4.')
            writer.write(frame)

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        if writer is None:
            raise PredictionError('the video holds no frame that OpenCV reads.')


if __name__ == '__main__':
    main()
