"""Pictures of a folder or a list: predicted, drawn, written down, resumed."""
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .coco import Result, to_results
from .console import report, say, unusable, warn_of_numbers
from .drawing import describe, draw
from .files import whole_file
from .journal import Journal
from .model import ExportedModel
from .pictures import encode_picture, read_picture
from .sources import image_ids
from .stream import FAILURES, Found, in_order, predict_stream


@dataclass
class Done:
    """One picture, ready to be written.

    Attributes:
        index: Of the picture.
        drawing: What its drawing's file would hold; None without one.
        results: COCO's.
        lines: What is said of it.
        unusable: How many results hold NaN or infinity.
        error: Why it could not be done.
    """

    index: int
    drawing: bytes | None = None
    results: list[Result] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    unusable: int = 0
    error: Exception | None = None


def predict_pictures(model: ExportedModel, paths: Sequence[Path],
                     drawn: Sequence[Path], has_results: bool, journal: Journal | None,
                     score_threshold: float, batch_size: int) -> Iterator[Done]:
    """Predict for pictures that are not done yet, draw them, and yield each.

    Args:
        model: From :func:`mmfastvit_runtime.load`.
        paths: Of all pictures.
        drawn: Files to draw into, as many; or none.
        has_results: Whether COCO's results are wanted.
        journal: Says what is done, and takes down what becomes of each; or None.
        score_threshold: Least score of objects that are drawn and printed.
        batch_size: How many the model takes at a time.
    """
    ids = image_ids(paths)
    todo = [i for i, path in enumerate(paths)
            if journal is None or str(path) not in journal.done]

    def finish(found: Found[int]) -> Done:
        """Return what is written, so that pictures and masks can go."""
        i, prediction = found.source, found.prediction
        done = Done(i, error=found.error)
        try:
            if done.error is None:
                if drawn:
                    done.drawing = encode_picture(drawn[i], draw(
                        found.picture, prediction, score_threshold))
                if has_results:
                    done.results = to_results(prediction, ids[i], paths[i].name)
                done.lines = describe(prediction, score_threshold)
                done.unusable = unusable(prediction)
        except FAILURES as failure:
            done = Done(i, error=failure)
        return done

    stream = predict_stream(model, todo, lambda i: read_picture(
        paths[i], model.max_pixels), batch_size)
    bar = tqdm(total=len(paths), initial=len(paths) - len(todo),
               disable=True if len(paths) == 1 else None)
    with bar:
        for done in in_order(finish, stream, os.cpu_count):
            path = paths[done.index]
            if done.drawing is not None:
                with whole_file(drawn[done.index]) as unfinished:
                    unfinished.write_bytes(done.drawing)
            if journal is not None:
                journal.add(str(path), done.results, done.error is not None)
            say(done.lines, '' if len(paths) == 1 else f'{path.name}: ')
            warn_of_numbers(done.unusable, path.name)
            if done.error is not None and (journal is not None or len(paths) > 1):
                report(done.error, str(path))
            bar.update()
            yield done
