"""Metadata at the end of a file, for formats that have no place for them.

They are a ZIP archive after the program, as TensorFlow Lite's own are: who reads the
program does not see them.
"""
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from mmfastvit_runtime.errors import PredictionError, first_line
from mmfastvit_runtime.limits import MAX_METADATA

from .engine import KEY

NAME = f'{KEY}.json'  # in the archive


def append_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Write metadata after a program, and what tells whether it is damaged."""
    content = {KEY: metadata, 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr(NAME, json.dumps(content))


def read_appended(path: Path) -> tuple[bytes, str]:
    """Return a program, and its metadata as JSON.

    Raises:
        PredictionError: There are none, or the program is another than was exported.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            info = archive.getinfo(NAME)
            if info.file_size > MAX_METADATA:
                raise ValueError(f'more than {MAX_METADATA:,} bytes')
            found = json.loads(archive.read(info))
        metadata, digest = json.dumps(found[KEY]), found['sha256']
    except (ValueError, RecursionError, KeyError, TypeError, zipfile.BadZipFile,
            NotImplementedError, RuntimeError, OSError) as error:
        raise PredictionError(
            f'{path} holds no metadata of mmfastvit, or is damaged '
            f'({first_line(error)}): it was not written by tools/export.py, or is '
            'incomplete. Export the model again.') from error
    program = content[:info.header_offset]
    if hashlib.sha256(program).hexdigest() != digest:
        raise PredictionError(f'{path} is damaged: its program is not the one that was '
                              'exported. Copy it again.')
    return program, metadata
