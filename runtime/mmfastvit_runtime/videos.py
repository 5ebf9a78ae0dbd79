"""Videos: each frame predicted, drawn, written."""
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .coco import Result, to_results
from .console import say, unusable, warn_of_numbers
from .drawing import describe, draw
from .errors import PredictionError
from .files import library_name, whole_file
from .model import ExportedModel
from .sources import open_video
from .stream import predict_stream


def predict_video(model: ExportedModel, source: Path, out: Path | None,
                  results: list[Result] | None, score_threshold: float,
                  batch_size: int) -> None:
    """Predict for the frames of a video.

    Args:
        model: From :func:`mmfastvit_runtime.load`.
        source: The video.
        out: An ``.mp4`` to draw into; or None.
        results: Takes COCO's; or None.
        score_threshold: Least score of objects that are drawn and printed.
        batch_size: How many frames the model takes at a time.

    Raises:
        PredictionError: It cannot be read or written, or a frame cannot be done.
    """
    video = open_video(source, model.max_pixels)
    count = 0
    with _video_writer(out, video.rate) as write:
        frames = predict_stream(model, video, lambda frame: frame, batch_size)
        for i, one in enumerate(tqdm(frames, total=video.count or None, disable=None)):
            if one.error is not None:
                raise one.error
            if out:
                write(draw(one.picture, one.prediction, score_threshold))
            if results is not None:
                results += to_results(one.prediction, i, source.name)
            say(describe(one.prediction, score_threshold), f'{i}: ')
            warn_of_numbers(unusable(one.prediction), f'frame {i}')
            count += 1
    if count < video.count:
        print(f'warning: {source} says that it has {video.count} frames, but only '
              f'{count} could be read: the rest is damaged, or it counts wrong.',
              file=sys.stderr)


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
