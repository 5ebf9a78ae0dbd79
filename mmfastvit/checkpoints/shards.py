"""Checkpoints in several files, and the index that says which tensor lies where."""
import json
import re
from pathlib import Path

from mmfastvit.utils.errors import CheckpointError

from .limits import MAX_INDEX_BYTES, exceeded

INDEX = '.safetensors.index.json'
_SHARD = re.compile(r'-\d+-of-(\d+)\.safetensors')


def read_index(path: Path) -> dict[str, str]:
    """Return the shard, a file beside the index, in which each tensor lies.

    Raises:
        CheckpointError: The index is missing, damaged, or names other places.
    """
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise exceeded('a longer index', 'MAX_INDEX_BYTES')
        shards = json.loads(path.read_text(encoding='utf-8'))['weight_map']
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f'{path} cannot be read as the index of a checkpoint in shards '
            f'({type(error).__name__}): it is JSON with "weight_map", from names of '
            'tensors to names of files.') from error
    if not isinstance(shards, dict) or not all(
            isinstance(shard, str) and re.fullmatch(r'[\w-][\w.-]*\.safetensors', shard)
            for shard in shards.values()):
        raise CheckpointError(f'{path} names shards that are no .safetensors files '
                              'beside it.')
    return shards


def shard_hint(source: str) -> str:
    """Return what to do where a file turns out to be one shard of several."""
    match = _SHARD.search(source)
    return '' if match is None else (
        f' This file is one of {int(match[1])} shards: give the index beside them, '
        'model.safetensors.index.json.')
