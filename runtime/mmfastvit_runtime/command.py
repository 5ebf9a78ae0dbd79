"""Predict with an exported file, without PyTorch and OpenMMLab.

Needs numpy, opencv-python-headless, pillow and onnxruntime (for .onnx), openvino
(.xml), ncnn (.ncnn.param), executorch (.pte) or ai-edge-litert (.tflite).
"""
import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .coco import Result, dump_results
from .console import paragraph
from .errors import PredictionError
from .files import check_targets, whole_file
from .folders import predict_pictures
from .journal import Journal, describe_run
from .limits import MAX_PIXELS
from .model import ExportedModel, load
from .sources import PICTURES, is_video, list_pictures
from .tables import import_pyarrow, write_parquet
from .videos import predict_video

WRITERS = {'json': dump_results, 'parquet': write_parquet}
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
              'was written. Where a folder or a list is drawn or written, the same '
              'command goes on where this one was stopped.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Python would complain when it closes the console.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except (PredictionError, MemoryError, OSError) as error:
        if args.traceback:
            raise
        sys.exit(f'error: {paragraph(error)}')
    if failed:
        sys.exit(f'error: {failed} of the pictures could not be done, see above; all '
                 'others were.')


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='mmfastvit-predict', description=__doc__)
    parser.add_argument('model', help='file that tools/export.py wrote')
    parser.add_argument('source', help='picture, folder of pictures, list of them '
                        '(.txt, a path in each line), or video')
    parser.add_argument('--out', metavar='OUT', help='draw what was found: a picture '
                        'for a picture, a folder for a folder, an .mp4 for a video')
    parser.add_argument('--json', metavar='OUT.json', help='write COCO results')
    parser.add_argument('--parquet', metavar='OUT.parquet',
                        help='write the same results as a Parquet table')
    parser.add_argument('--batch', type=_positive, default=8, metavar='N',
                        help='pictures of one size that run together (default: 8)')
    parser.add_argument('--score-threshold', type=_number, default=0.3,
                        help='least score of objects that are drawn and printed '
                        '(default: 0.3)')
    parser.add_argument('--device', default='cpu',
                        help='of .onnx: cpu (default), cuda, tensorrt, coreml or '
                        'directml, with the onnxruntime that has it')
    parser.add_argument('--threads', type=_count,
                        help='how many threads the model may use')
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


def _positive(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError(f'{text}: give a number from 1 on')
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
    alone = not video and paths == [source]
    out = _place(Path(args.out), source, alone, video) if args.out else None
    drawn = [] if out is None else [out] if alone or video else [
        out / path.name for path in paths]
    tables = {kind: Path(name) for kind, name in (
        ('json', args.json), ('parquet', args.parquet)) if name}
    check_targets([*drawn, *tables.values()], [source, *paths, *_parts(model_path)])
    if 'parquet' in tables:
        import_pyarrow()  # what is missing is known before hours of work
    model = load(args.model, args.max_pixels, threads=args.threads,
                 device=args.device)
    many = not (alone or video) and [*tables.values(), *([out] if out else [])]
    with ExitStack() as stack:
        unfinished = {kind: stack.enter_context(whole_file(path))
                      for kind, path in tables.items()}
        results: list[Result] = []
        failed = 0
        if many:
            journal = Journal(many[0], describe_run(
                _parts(model_path), map(str, paths),
                score_threshold=args.score_threshold, max_pixels=args.max_pixels,
                targets=sorted(map(str, many))))
            failed = _predict_many(model, paths, drawn, journal, args)
        elif video:
            predict_video(model, source, out, results if tables else None,
                          args.score_threshold, args.batch)
        else:
            failed = _predict_few(model, paths, drawn, results, args)
        for kind, path in unfinished.items():
            try:
                WRITERS[kind](journal.results() if many else results, path)
            except OSError as error:
                raise PredictionError(f'{tables[kind]} cannot be written: '
                                      f'{error.strerror or error}.') from error
    if many:
        journal.remove()
    return failed


def _predict_few(model: ExportedModel, paths: list[Path], drawn: list[Path],
                 results: list[Result], args: argparse.Namespace) -> int:
    """Predict for pictures of which nothing is kept if it stops."""
    failed = 0
    for done in predict_pictures(model, paths, drawn, bool(args.json or args.parquet),
                                 None, args.score_threshold, args.batch):
        if done.error is not None and len(paths) == 1:
            raise done.error
        failed += done.error is not None
        results += done.results
    return failed


def _predict_many(model: ExportedModel, paths: list[Path], drawn: list[Path],
                  journal: Journal, args: argparse.Namespace) -> int:
    """Predict for pictures that are not done yet, and keep what is when it stops."""
    if journal.done:
        tqdm.write(f'{len(journal.done):,} of {len(paths):,} pictures are done, says '
                   f'{journal.folder}: going on.', file=sys.stderr)
    failed = 0
    try:
        for done in predict_pictures(
                model, paths, drawn, bool(args.json or args.parquet), journal,
                args.score_threshold, args.batch):
            failed += done.error is not None
    finally:
        journal.keep()
    return failed


def _parts(model: Path) -> list[Path]:
    """Return the files that an exported model is or may have beside it."""
    beside = [model.with_suffix('.json')] if model.suffix == '.param' else []
    return [model, model.with_suffix('.bin'), model.with_suffix('.onnx.data'),
            Path(f'{model}.data'), Path(f'{model}.json'), *beside]


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


if __name__ == '__main__':
    main()
