"""Results as Parquet, which data frames and databases read."""
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from .coco import Result
from .errors import PredictionError

ROWS = 4096  # at a time


def write_parquet(results: Iterable[Result], path: Path) -> None:
    """Write COCO results as a table, a row each.

    Its columns are ``image_id``, ``file_name``, ``category_id``, ``category``,
    ``score``, ``bbox`` (left, top, width, height in pixels; of detections alone),
    ``segmentation`` (``size`` and ``counts`` of COCO's run lengths; none without
    masks), ``keypoints`` (x and y in pixels and 2 of each joint) and ``joints`` (x, y
    and z in metres; both of hands alone).

    Args:
        results: From :func:`mmfastvit_runtime.coco.to_results`.
        path: A file that is not in its place yet.

    Raises:
        PredictionError: pyarrow is missing, or a number is larger than a table holds.
    """
    pyarrow, parquet = import_pyarrow()
    numbers = pyarrow.list_(pyarrow.float64())
    schema = pyarrow.schema([
        ('image_id', pyarrow.int64()), ('file_name', pyarrow.string()),
        ('category_id', pyarrow.int64()), ('category', pyarrow.string()),
        ('score', pyarrow.float64()), ('bbox', numbers),
        ('segmentation', pyarrow.struct([
            ('size', pyarrow.list_(pyarrow.int64())), ('counts', pyarrow.string())])),
        ('keypoints', numbers), ('joints', pyarrow.list_(numbers))])
    rest = iter(results)
    with parquet.ParquetWriter(path, schema) as writer:
        while rows := list(islice(rest, ROWS)):
            rows = [{**row, **{name: text(row[name]) for name in
                               ('file_name', 'category')}} for row in rows]
            try:
                table = pyarrow.Table.from_pylist(rows, schema)
            except (ValueError, OverflowError, pyarrow.ArrowException) as error:
                raise PredictionError(f'These results are no table: {error}. Write '
                                      '--json.') from error
            writer.write_table(table)


def text(name: str) -> str:
    """Return a name without what is no letter, of disks that know other bytes."""
    return name.encode('utf-8', 'backslashreplace').decode()


def import_pyarrow() -> tuple:
    """Return pyarrow and its Parquet, or raise PredictionError that says what to do."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise PredictionError('Tables need pyarrow: pip install pyarrow.'
                              ) from error
    return pyarrow, parquet
