"""Pictures of a folder or a list: predicted, drawn, written down, gone on with."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .coco import Result, to_results
from .console import report, say, warn_of_numbers
from .drawing import describe, draw
from .files import whole_file
from .journal import Journal
from .model import ExportedModel
from .pictures import encode_picture, read_picture
from .sources import image_ids
from .stream import BATCHES, FAILURES, Found, in_order, predict_stream


@dataclass
class Done:
    """One picture, ready to be written.

    Attributes:
        found: What became of it.
        drawing: What its drawing's file would hold; None without one.
        results: COCO's.
        error: Why it could not be done.
    """

    found: Found[int]
    drawing: bytes | None
    results: list[Result]
    error: Exception | None


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
        i, drawing, results, error = found.source, None, [], found.error
        try:
            if error is None and drawn:
                drawing = encode_picture(drawn[i], draw(
                    found.picture, found.prediction, score_threshold))
            if error is None and has_results:
                results = to_results(found.prediction, ids[i], paths[i].name)
        except FAILURES as failure:
            error = failure
        return Done(found, drawing, results, error)

    stream = predict_stream(model, todo, lambda i: read_picture(
        paths[i], model.max_pixels), batch_size)
    bar = tqdm(total=len(paths), initial=len(paths) - len(todo),
               disable=True if len(paths) == 1 else None)
    with bar:
        for done in in_order(finish, stream, BATCHES * batch_size):
            path = paths[done.found.source]
            if done.drawing is not None and done.error is None:
                with whole_file(drawn[done.found.source]) as unfinished:
                    unfinished.write_bytes(done.drawing)
            if journal is not None:
                journal.add(str(path), done.results, done.error is not None)
            if done.error is None:
                say(describe(done.found.prediction, score_threshold),
                    '' if len(paths) == 1 else f'{path.name}: ')
                warn_of_numbers(done.found.prediction, path.name)
            elif len(paths) > 1:
                report(done.error, str(path))
            bar.update()
            yield done
