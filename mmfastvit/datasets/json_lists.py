"""Long JSON lists of arrays, read entry by entry."""
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmfastvit.utils.errors import DataError

# FreiHAND's list of vertices has 1.5 GB, of 50 KB each entry.
CHUNK = 2**20  # characters that are read at a time
MAX_ENTRY = 2**22  # characters of one entry
_BETWEEN = re.compile(r'[ \t\r\n]*,?[ \t\r\n]*')
_AFTER = re.compile(r'[ \t\r\n]*[,\]]')


def read_list(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a JSON list of arrays, (entries, *shape) float32.

    The file is never in memory as a whole, and Python's numbers of one entry alone.

    Args:
        path: The file.
        shape: Of each entry; ``()`` of plain numbers.

    Raises:
        DataError: It is no such list, or a number is NaN or infinite in float32.
    """
    arrays = []
    try:
        for i, entry in enumerate(_entries(Path(path))):
            where = f'{path}: its entry {i} (counted from 0)'
            try:
                array = np.asarray(entry)
            except (ValueError, OverflowError) as error:
                raise DataError(f'{where} is no array: {error}. Take the file as it '
                                'was downloaded.') from error
            if array.dtype.kind not in 'iuf':
                raise DataError(f'{where} is no array of numbers. Take the file as it '
                                'was downloaded.')
            if array.shape != shape:
                raise DataError(f'{where} has the shape {array.shape}, allowed is '
                                f'{shape}. Take the file as it was downloaded.')
            with np.errstate(over='ignore'):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise DataError(f'{where} holds NaN, infinity or more than fits '
                                'float32. Mend it, or take the file as it was '
                                'downloaded.')
            arrays.append(array)
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path} cannot be read: {error}.') from error
    if not arrays:
        raise DataError(f'{path} is an empty list. Take the file as it was downloaded.')
    return np.stack(arrays)


def _entries(path: Path) -> Iterator[Any]:
    """Yield the entries of a list.

    Raises:
        DataError: It is none, or an entry is longer than any real one.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding='utf-8') as file:
        text, at = file.read(CHUNK).lstrip(), 1
        if not text.startswith('['):
            raise DataError(f'{path} is no JSON list. Take the file as it was '
                            'downloaded.')
        while True:
            at = _BETWEEN.match(text, at).end()
            if text.startswith(']', at):
                if text[at + 1:].strip() or file.read(CHUNK).strip():
                    raise DataError(f'{path} goes on after its list. Take the file as '
                                    'it was downloaded.')
                return
            entry, end, fault = None, len(text), 'it ends before its list does'
            try:
                entry, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                fault = str(error)
            if _AFTER.match(text, end):  # else a number may go on in the next chunk
                yield entry
                at = end
                continue
            more = file.read(CHUNK)
            if not more or len(text) - at > MAX_ENTRY:
                raise DataError(f'{path} is cut short or damaged: {fault}. Take the '
                                'file as it was downloaded.')
            text, at = text[at:] + more, 0
