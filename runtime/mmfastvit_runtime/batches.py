"""Predictions for tables of pictures, as engines for clusters hand them out."""
from typing import Any

import numpy as np

from . import hands
from .errors import PredictionError
from .limits import MAX_PIXELS
from .model import load
from .pictures import decode_picture
from .stream import FAILURES, Found, predict_stream
from .tables import import_pyarrow, text

Columns = dict[str, Any]  # by name, a value for each row


class BatchPredictor:
    """A model for ``map_batches`` of Ray Data, opened once in each worker.

    It needs no Ray: :meth:`columns` maps a dict of columns to another.

    Args:
        model: A file that ``tools/export.py`` wrote, which every worker can read.
        batch_size: How many pictures of one size run together.
        max_pixels: How many a picture may have; None allows all.
        workers: Threads that decode pictures.
        options: Of :func:`mmfastvit_runtime.load`.

    Raises:
        PredictionError: The file cannot be opened, or gives feature maps.

    Example:
        >>> pictures = ray.data.read_binary_files('photos', include_paths=True)
        >>> found = pictures.map_batches(
        ...     BatchPredictor, fn_constructor_kwargs=dict(model='model.onnx'),
        ...     batch_size=64, concurrency=4)
        >>> found.write_parquet('found')
    """

    def __init__(self, model: str, batch_size: int = 8,
                 max_pixels: int | None = MAX_PIXELS, workers: int = 2,
                 **options: Any):
        self.workers = workers
        self.model = load(model, max_pixels, **options)
        self.batch_size = batch_size
        metadata = self.model.metadata
        if metadata['task'] == 'features' and metadata['outputs'] != ['embedding']:
            raise PredictionError('Feature maps are too large for a table: export the '
                                  'whole model, or an image encoder.')

    def __call__(self, batch: Columns) -> Any:
        """Return :meth:`columns` as a ``pyarrow.Table``.

        Its types are the same where no picture has an object, so that blocks and their
        files are of one kind.

        Raises:
            PredictionError: pyarrow, which Ray Data brings, is missing.
        """
        pyarrow, _ = import_pyarrow()
        kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}

        def clean(value: Any) -> Any:
            if isinstance(value, list):
                return [clean(one) for one in value]
            return text(value) if isinstance(value, str) else value

        def arrow(kind: Any) -> Any:
            return (pyarrow.list_(arrow(*kind)) if isinstance(kind, list) else
                    kinds[kind])

        types = dict(path=str, **_TYPES[self.model.metadata['task']], error=str)
        columns = self.columns(batch)
        return pyarrow.table(
            {name: pyarrow.array(clean(columns.get(name, [])), arrow(kind))
             for name, kind in types.items()})

    def columns(self, batch: Columns) -> Columns:
        """Predict for the pictures of some rows.

        Args:
            batch: ``bytes``, what the pictures' files hold, and perhaps ``path``.

        Returns:
            ``path``; ``error``, empty where there is none; of a detector ``boxes``
            (left, top, right, bottom in pixels), ``scores``, ``labels`` and
            ``category``; of a classifier the best ``label``, its ``category`` and
            ``score``; of a segmentor ``labels``, ``category`` and ``shares`` of the
            picture; of an image encoder the ``embedding``; of a hand ``uv`` (x and y of
            21 joints, in pixels), ``joints`` and ``vertices`` (x, y and z in metres).
            Masks and label maps are too large for a table: left out.
        """
        contents = list(batch['bytes'])
        paths = [str(path) for path in batch.get('path', range(len(contents)))]

        def read(i: int) -> np.ndarray:
            return decode_picture(contents[i], paths[i], self.model.max_pixels)

        stream = predict_stream(self.model, range(len(contents)), read, self.batch_size,
                                self.workers)
        rows = [self._row(found) for found in stream]
        return {'path': paths, **{name: [row[name] for row in rows]
                                  for name in (rows[0] if rows else ())}}

    def _row(self, found: Found[int]) -> dict[str, Any]:
        task = self.model.metadata['task']
        columns = dict(_COLUMNS[task])
        error, prediction = found.error, found.prediction
        if error is None:
            try:
                columns |= _FILL[task](prediction)
            except FAILURES as failure:
                error = failure
        return {**columns, 'error': '' if error is None else str(error)}


def _detection(found: Any) -> dict[str, Any]:
    kept = found.finite()
    labels = found['labels'][kept].tolist()
    return dict(boxes=found['boxes'][kept].tolist(), labels=labels,
                scores=found['scores'][kept].tolist(),
                category=[found.name(label) for label in labels])


def _classification(found: Any) -> dict[str, Any]:
    if not found.finite().any():
        raise PredictionError('All of its scores are NaN or infinite.')
    scores = np.where(found.finite(), found['scores'], -np.inf)
    best = int(scores.argmax())
    return dict(label=best, category=found.name(best), score=float(scores[best]))


def _segmentation(found: Any) -> dict[str, Any]:
    labels, counts = np.unique(found['labels'], return_counts=True)
    labels = labels.tolist()
    return dict(labels=labels, category=[found.name(label) for label in labels],
                shares=(counts / found['labels'].size).tolist())


def _hand(found: Any) -> dict[str, Any]:
    if not found.finite().all():
        raise PredictionError('Its hand holds NaN or infinity.')
    return {name: found[name].tolist() for name in hands.ARRAYS}


def _embedding(found: Any) -> dict[str, Any]:
    embedding = found['embedding']
    if embedding.ndim != 1:
        raise PredictionError(f'The embedding has {embedding.shape}, and not one axis.')
    return dict(embedding=embedding.tolist())


_FILL = {'detection': _detection, 'classification': _classification,
         'segmentation': _segmentation, 'features': _embedding,
         'hand_mesh': _hand}
# What the columns hold, a list of one type where each row has a list.
_TYPES: dict[str, dict[str, Any]] = {
    'detection': dict(boxes=[[float]], scores=[float], labels=[int], category=[str]),
    'classification': dict(label=int, category=str, score=float),
    'segmentation': dict(labels=[int], category=[str], shares=[float]),
    'features': dict(embedding=[float]),
    'hand_mesh': dict(uv=[[float]], joints=[[float]], vertices=[[float]])}
# What a row has whose picture could not be done.
_COLUMNS: dict[str, dict[str, Any]] = {
    'detection': dict(boxes=[], scores=[], labels=[], category=[]),
    'classification': dict(label=-1, category='', score=0.),
    'segmentation': dict(labels=[], category=[], shares=[]),
    'features': dict(embedding=[]),
    'hand_mesh': dict(uv=[], joints=[], vertices=[])}
