"""Predict with an exported file, without PyTorch and OpenMMLab.

Needs numpy, opencv-python-headless, pillow and onnxruntime (for .onnx) or openvino (for
.xml).
"""
import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .coco import Result, dump_results, to_results
from .drawing import describe, draw
from .errors import PredictionError
from .files import check_targets, library_name, whole_file
from .limits import MAX_PIXELS
from .model import ExportedModel, load
from .pictures import encode_picture, read_picture
from .prediction import Prediction
from .sources import PICTURES, image_ids, is_video, list_pictures, open_video

INTERRUPTED, PIPE_CLOSED = 130, 141  # exit codes, as shells have them


def main() -> None:
    """Run the command line; what a user can mend ends in one paragraph."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')  # letters a console has not
    args = _parse()
    try:
        failed = predict(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if args.traceback:
            raise
        print('\ninterrupted: drawings that are finished are kept, and no other file '
              'was written.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Python would complain when it closes the console.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except (PredictionError, MemoryError, OSError) as error:
        if args.traceback:
            raise
        sys.exit(f'error: {_paragraph(error)}')
    if failed:
        sys.exit(f'error: {failed} of the pictures could not be done, see above; the '
                 'others are.')


def _paragraph(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return (f'the memory is full ({error}). Take smaller pictures, or fewer at a '
                'time.')
    if isinstance(error, OSError):
        return f'reading or writing failed: {error}.'
    return str(error)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='mmfastvit-predict', description=__doc__)
    parser.add_argument('model', help='file that tools/export.py wrote')
    parser.add_argument('source', help='picture, folder of pictures, or video')
    parser.add_argument('--out', metavar='OUT', help='draw what was found: a picture '
                        'for a picture, a folder for a folder, an .mp4 for a video')
    parser.add_argument('--json', metavar='OUT.json', help='write COCO results')
    parser.add_argument('--score-threshold', type=_number, default=0.3,
                        help='least score of objects that are drawn and printed '
                        '(default: 0.3)')
    parser.add_argument('--threads', type=_count, help='of the runtime')
    parser.add_argument('--max-pixels', type=_count, default=MAX_PIXELS, metavar='N',
                        help='of a picture, as it is and resized for the model; 0 '
                        f'allows all (default: {MAX_PIXELS})')
    parser.add_argument('--traceback', action='store_true',
                        help='show where in the program an error comes from')
    args = parser.parse_args()
    args.max_pixels = args.max_pixels or None
    args.threads = args.threads or None
    return args


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise argparse.ArgumentTypeError(f'{text}: give a number from 0 on')
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise argparse.ArgumentTypeError(f'{text}: give a number')
    return value


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
    check_targets([*drawn, *([Path(args.json)] if args.json else [])],
                  [source, *paths, *_parts(model_path)])
    model = load(args.model, args.max_pixels, threads=args.threads)
    results: list[Result] | None = [] if args.json else None
    with whole_file(Path(args.json)) if args.json else nullcontext() as unfinished:
        if video:
            failed = 0
            _predict_video(model, source, out, args.score_threshold, results)
        else:
            failed = _predict_pictures(model, paths, drawn, args.score_threshold,
                                       results)
        if args.json:
            dump_results(results, unfinished)
    return failed


def _parts(model: Path) -> list[Path]:
    """Return the files that an exported model is or may have beside it."""
    return [model, model.with_suffix('.bin'), model.with_suffix('.onnx.data'),
            Path(f'{model}.data'), Path(f'{model}.json')]


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
            picture = read_picture(path, model.max_pixels)
            found = model(picture)
            content = drawn and encode_picture(
                drawn[i], draw(picture, found, score_threshold))
            entries = [] if results is None else to_results(found, image_id, path.name)
        except (PredictionError, MemoryError) as error:
            if alone:
                raise
            failed += 1
            text = _paragraph(error)
            place = '' if str(path) in text else f'{path}: '
            tqdm.write(f'error: {place}{text}', file=sys.stderr)
            continue
        if drawn:
            with whole_file(drawn[i]) as unfinished:
                unfinished.write_bytes(content)
        if results is not None:
            results += entries
        _print(describe(found, score_threshold), '' if alone else f'{path.name}: ')
        _warn_of_numbers(found, path.name)
    return failed


def _predict_video(model: ExportedModel, source: Path, out: Path | None,
                   score_threshold: float, results: list[Result] | None) -> None:
    video = open_video(source, model.max_pixels)
    count = 0
    with _video_writer(out, video.rate) as write:
        for i, frame in enumerate(tqdm(video, total=video.count or None, disable=None)):
            found = model(frame)
            if out:
                write(draw(frame, found, score_threshold))
            if results is not None:
                results += to_results(found, i, source.name)
            _print(describe(found, score_threshold), f'{i}: ')
            _warn_of_numbers(found, f'frame {i}')
            count += 1
    if count < video.count:
        print(f'warning: {source} says that it has {video.count} frames, but only '
              f'{count} could be read: the rest is damaged, or it counts wrong.',
              file=sys.stderr)


def _print(lines: list[str], prefix: str) -> None:
    for line in lines:
        tqdm.write(f'{prefix}{line}')


def _warn_of_numbers(found: Prediction, name: str) -> None:
    """Say how much was left out since it is NaN or infinite."""
    count = int((~found.finite()).sum()) if 'scores' in found else 0
    if count:
        tqdm.write(f'warning: {name}: {count} results hold NaN or infinity; they are '
                   'neither drawn nor written.', file=sys.stderr)


@contextmanager
def _video_writer(path: Path | None, rate: float
                  ) -> Iterator[Callable[[np.ndarray], None] | None]:
    """Yield what takes frames; the file appears when all of them are written."""
    if path is None:
        yield None
        return
    writer, count = None, 0
    with whole_file(path) as unfinished:
        def write(frame: np.ndarray) -> None:
            nonlocal writer, count
            if writer is None:
                writer = cv2.VideoWriter(
                    library_name(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), rate,
                    frame.shape[1::-1])
                if not writer.isOpened():
                    raise PredictionError(
                        f'{path} cannot be written: OpenCV has no writer for frames of '
                        f'{frame.shape[1]} x {frame.shape[0]} in it. Name an .mp4.')
            writer.write(frame)
            count += 1

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        if writer is None:
            raise PredictionError('the video holds no frame that OpenCV reads.')
        # OpenCV does not say when a disk is full.
        try:
            arrived = open_video(unfinished, None).count
        except PredictionError:
            arrived = 0
        if arrived != count:
            raise PredictionError(f'{path} cannot be written: {arrived} of {count} '
                                  'frames arrived. Is the disk full?')


if __name__ == '__main__':
    main()
