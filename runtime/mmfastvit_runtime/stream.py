"""Predictions for pictures as they come: threads read ahead, the model runs batches."""
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from .errors import PredictionError
from .model import ExportedModel, Resized
from .prediction import Prediction

T = TypeVar('T')
R = TypeVar('R')
BATCHES = 4  # in memory at a time, so that pictures of one size find each other
# Of pictures that are read ahead, and of what is found in a window of them, masks
# included. One picture alone may take more.
BYTES = 2**29
OBJECTS = 100  # with masks, in a picture, where the model's file does not say
FAILURES = PredictionError, MemoryError  # of one picture, which end nothing


@dataclass
class Found(Generic[T]):
    """What became of one picture.

    Attributes:
        source: Where it came from.
        picture: (H, W, 3) uint8, BGR; None where it could not be read.
        prediction: None where there is none.
        error: Why there is none.
    """

    source: T
    picture: np.ndarray | None = None
    prediction: Prediction | None = None
    error: Exception | None = None


def predict_stream(model: ExportedModel, sources: Iterable[T],
                   read: Callable[[T], np.ndarray], batch_size: int = 8,
                   workers: int | None = None) -> Iterator[Found[T]]:
    """Predict for pictures from anywhere, in their order.

    One that cannot be read, or for which the model fails, ends nothing.

    Args:
        model: From :func:`mmfastvit_runtime.load`.
        sources: Of the pictures, of which some are asked for ahead.
        read: Returns a picture (H, W, 3) uint8, BGR, of a source, or raises
            PredictionError; runs in threads. Other errors end the stream.
        batch_size: How many pictures of one size the model takes at a time.
        workers: Threads that read; None takes one for each core.

    Example:
        >>> for one in predict_stream(load('model.onnx'), paths, read_picture):
        ...     print(one.source, one.error or one.prediction['scores'])
    """
    def prepare(source: T) -> tuple[Found[T], Resized | None]:
        try:
            picture = read(source)
            return Found(source, picture), model.resize(picture)
        except FAILURES as error:
            return Found(source, error=error), None

    # Of the pictures that came last, by which those to come are judged.
    sizes: deque[int] = deque(maxlen=8 * BATCHES * batch_size)

    def count() -> int:
        return min(BATCHES * batch_size, BYTES // max(sizes, default=BYTES))

    masks = _masks(model)
    window: list[tuple[Found[T], Resized | None]] = []
    taken = 0
    for one, resized in in_order(prepare, sources, count, workers):
        window.append((one, resized))
        if one.picture is not None:
            sizes.append(one.picture.size)
            taken += one.picture.size + masks * one.picture.size // 3
        if len(window) >= BATCHES * batch_size or taken >= BYTES:
            yield from _predicted(model, window, batch_size)
            window, taken = [], 0
    yield from _predicted(model, window, batch_size)


def _masks(model: ExportedModel) -> int:
    """Return how many masks a picture may have, a byte for each pixel each."""
    if 'masks' not in model.metadata['outputs']:
        return 0
    most = model.metadata.get('max_detections')
    return most if isinstance(most, int) and most > 0 else OBJECTS


def in_order(function: Callable[[T], R], items: Iterable[T],
             count: Callable[[], int], workers: int | None = None) -> Iterator[R]:
    """Yield what a function returns for items, in their order, from threads.

    Args:
        function: Of one item.
        items: Taken ahead, as far as ``count`` allows.
        count: Says how many may be at work, or done and waiting; at least one is.
        workers: Threads; None takes one for each core.
    """
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                while waiting and len(waiting) >= count():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _predicted(model: ExportedModel, window: list[tuple[Found, Resized | None]],
               batch_size: int) -> list[Found[Any]]:
    """Return a window's pictures with what is in them."""
    ready = [(one, resized) for one, resized in window if resized is not None]
    try:
        found = model.predict_resized([resized for _, resized in ready], batch_size)
        for (one, _), prediction in zip(ready, found):
            one.prediction = prediction
    except FAILURES:  # of one of them: each for itself
        for one, resized in ready:
            try:
                one.prediction, = model.predict_resized([resized], 1)
            except FAILURES as error:
                one.error = error
    return [one for one, _ in window]
