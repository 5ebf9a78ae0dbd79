"""Reading checkpoint files that nobody has vouched for."""
import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier
from mmengine.logging import print_log
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError
from mmfastvit.utils.files import sha256_of, whole_file

from .fit import shorten
from .limits import MAX_INDEX_BYTES, exceeded, quote
from .shards import INDEX, read_index
from .unpickle import ForeignObjectError, load_pickle

_DOWNLOAD_TIMEOUT_S = 60
# Where checkpoints of OpenMMLab, timm and others keep their tensors.
_WRAPPERS = ('state_dict', 'model', 'module', 'state_dict_ema', 'model_ema')
_OF_DAMAGE = (
    'Allowed are .safetensors files, and files by torch.save that hold tensors and '
    'plain data. If the download was cut short, fetch the file again.')
_OF_FOREIGN = (
    'Such objects are not made, because a file can execute anything through them. '
    'Where the file was made, or where its maker is trusted, save the weights alone: '
    "torch.save(model.state_dict(), 'weights.pth').")
_IMPOSTORS = {b'': 'empty', b'<': 'a web page',
              b'version https://git-lfs': 'a Git LFS pointer'}


def load_file(path: str, map_location: Any = 'cpu') -> Any:
    """Return what a local checkpoint file holds, executing none of it.

    Args:
        path: A ``.safetensors`` file, or what ``torch.save`` writes.
        map_location: Where tensors of the latter go, as for ``torch.load``; None
            means the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or no checkpoint.
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # False for names that no file can have, too
        raise CheckpointError(f'there is no checkpoint file {path}.')
    try:
        if path.suffix == '.safetensors':
            return load_safetensors(path)
        return load_pickle(path, map_location)
    except Exception as error:  # zip, pickle, header and IO errors alike
        advice = _OF_FOREIGN if isinstance(error, ForeignObjectError) else _OF_DAMAGE
        raise CheckpointError(
            f'{path} ({path.stat().st_size:,} bytes) cannot be read as a '
            f'checkpoint: {reason_of(path, error)}. {advice}') from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Return a file's tensors; its header is bounded first."""
    from safetensors.torch import load_file
    with path.open('rb') as file:
        if int.from_bytes(file.read(8), 'little') > MAX_INDEX_BYTES:
            raise exceeded('a longer header', 'MAX_INDEX_BYTES')
    return load_file(path)


def download(url: str, sha256: str | None = None) -> Path:
    """Return the local copy of ``url``, fetched once into torch's hub cache.

    What is cached was read successfully first: neither half a file nor a page
    about the file stays.

    Args:
        url: An http(s) address.
        sha256: What the file has to be.

    Raises:
        CheckpointError: It cannot be fetched, is no checkpoint, or is another file.
    """
    name = PurePosixPath(urlsplit(url).path)
    # Many models share a file name; the address tells them apart.
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    stem, dot, suffixes = name.name.partition('.')
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{stem}-{digest}{dot}{suffixes}')
    error = None
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not path.exists():
        try:
            _fetch(url, path, sha256)
        except Exception as caught:  # the other ranks wait at the barrier
            error = caught
    barrier()
    if not path.exists():
        detail = f': {error or "see the output of local rank 0"}'
        raise CheckpointError(f'{url} cannot be downloaded{detail}') from error
    return path


def _fetch(url: str, path: Path, sha256: str | None) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        with whole_file(path) as unfinished:
            torch.hub.download_url_to_file(url, str(unfinished))
            check_sha256(unfinished, sha256, url)
            if path.name.endswith(INDEX):
                read_index(unfinished)
            else:
                load_file(unfinished)
    finally:
        socket.setdefaulttimeout(timeout)


def check_sha256(path: Path, sha256: str | None, source: str) -> None:
    """Refuse a file that is not the one whose hash was asked for.

    Raises:
        CheckpointError: It is another.
    """
    if sha256 is not None and (actual := sha256_of(path)) != sha256:
        raise CheckpointError(
            f'{source} is not the file that was asked for: its SHA-256 is {actual}, '
            f'expected was {sha256}. Fetch it again from where the hash is '
            'from, or find out who changed it before you use it.')


def load_from_path_or_url(source: str, map_location: Any = 'cpu') -> Any:
    """Return all that a checkpoint at a path or an http(s) URL holds.

    MMEngine logs the name of its loaders from the eleventh letter on.

    Args:
        source: What follows ``#sha256=`` is what the file has to be.
        map_location: As for :func:`load_file`.

    Raises:
        CheckpointError: It cannot be fetched or read, or is another file.
    """
    return load_file(local_file(source), map_location)


def local_file(source: str) -> Path:
    """Return the file at a path or an http(s) URL, which is fetched once.

    Raises:
        CheckpointError: It cannot be fetched, or is another file.
    """
    place, key, sha256 = split_source(source)
    if key is not None:  # one of several state dicts is not the whole
        place = f'{place}#{key}'
    if place.startswith(('http://', 'https://')):
        path = download(place, sha256)
    elif '://' in place:
        raise CheckpointError(f'{place} has a scheme that is not supported; '
                              'allowed are paths, http:// and https://.')
    else:
        path = Path(place).expanduser()
    if sha256 is not None and path.is_file():
        check_sha256(path, sha256, place)
    return path


Select = Callable[[Iterable[str]], Iterable[str]]


def read_state_dict(source: str, select: Select | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, unwrapped, on the CPU.

    Args:
        source: A path or an http(s) URL; of a checkpoint in shards that of its index,
            ``model.safetensors.index.json``. What follows a ``#`` chooses among several
            state dicts, ``'file.pth#state_dict_ema'`` for example; without, which
            one was taken is logged. ``'file.pth#sha256=…'`` refuses any other file;
            both are joined by ``&``.
        select: From the names in an index, those of which shards are read.

    Raises:
        CheckpointError: It cannot be fetched or read, is another file, or holds no
            state dict, or not the one that was chosen.
    """
    place, wanted, sha256 = split_source(source)
    pinned = place if sha256 is None else f'{place}#sha256={sha256}'
    if place.endswith(INDEX):
        if sha256 is not None:
            raise CheckpointError(
                f'{place} is an index, whose hash says nothing about its shards: give '
                'it without sha256=, or write the backbone as one file, with '
                'tools/convert_checkpoint.py, and pin that.')
        return _read_shards(place, select)
    content, source = load_from_path_or_url(pinned), place
    held = _held(content)
    while wanted not in held and len(held) == 1 and _held(content[held[0]]):
        content = content[held[0]]  # as Lightning and others nest them
        held = _held(content)
    if wanted is not None:
        if wanted not in held:
            raise CheckpointError(
                f'{source} holds no state dict under {quote(wanted)}; it holds some '
                f'under: {shorten(map(str, held)) or "no key"}.')
        return _find_weights(content[wanted])
    tensors, key = _find_weights(content), _wrapper(content)
    if not tensors:
        others = f' It holds some under: {shorten(map(str, held))}; choose one, with '\
            f'{source}#{held[0]} for example.' if held else ''
        raise CheckpointError(
            f'{source} holds no state dict: a flat dict from names to tensors, '
            f'bare or under one of the keys {list(_WRAPPERS)}.{others}')
    others = [str(other) for other in held if other != key]
    if others:
        print_log(f'{source} holds several state dicts; {key or "the bare one"} was '
                  f'taken. To take another, write {source}#{others[0]} for example; '
                  f'there are: {shorten(others)}.', logger='current')
    return tensors


def _read_shards(place: str, select: Select | None) -> dict[str, Tensor]:
    """Return the tensors of those shards that hold a selected one."""
    shards = read_index(local_file(place))
    names = shards if select is None else select(shards)
    folder = place[:-len(PurePosixPath(place).name)]
    tensors = {}
    for shard in sorted({shards[name] for name in names}):
        tensors |= load_from_path_or_url(folder + shard)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise CheckpointError(f'{place} names {len(missing)} tensors that its shards '
                              f'do not hold: {shorten(missing)}. Fetch them again.')
    return tensors


def split_source(source: str) -> tuple[str, str | None, str | None]:
    """Return a file's place, which state dict of it is asked for, and its SHA-256.

    Raises:
        CheckpointError: What is after ``sha256=`` is none.
    """
    source = str(source)
    place, mark, fragment = source.rpartition('#')
    if not mark or os.path.exists(Path(source).expanduser()):
        return source, None, None
    key = sha256 = None
    for part in fragment.split('&'):
        if not part.startswith('sha256='):
            key = part
            continue
        sha256 = part.removeprefix('sha256=').lower()
        if not re.fullmatch('[0-9a-f]{64}', sha256):
            raise CheckpointError(f'{quote(source)}: after sha256= come 64 digits, '
                                  '0 to 9 and a to f.')
    return place, key, sha256


def _held(content: Any) -> list[Any]:
    """Return the keys under which state dicts lie."""
    if not isinstance(content, dict):
        return []
    return [key for key, value in content.items() if any(
        tensor.is_floating_point()  # or it is the state of a random generator
        for tensor in _find_weights(value).values())]


def _wrapper(content: Any) -> str | None:
    """Return the key under which a state dict lies; None if it is bare."""
    return next((key for key in _WRAPPERS if isinstance(content, dict)
                 and isinstance(content.get(key), dict)), None)


def _find_weights(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, wrapped or bare; {} if there is none."""
    while (key := _wrapper(content)) is not None:  # what was read has an end
        content = content[key]
    if not isinstance(content, dict):
        return {}
    return {k: v for k, v in content.items()
            if isinstance(k, str) and isinstance(v, Tensor)}


def reason_of(path: Path, error: Exception) -> str:
    """Say in one phrase why reading failed."""
    if isinstance(error, OSError):
        return str(error)
    with path.open('rb') as file:
        start = file.read(64).lstrip()
    for magic, kind in _IMPOSTORS.items():
        if start.startswith(magic) if magic else not start:
            return f'it is {kind}'
    if isinstance(error, CheckpointError):
        return str(error)
    detail = (str(error).splitlines() or [''])[0][:200]
    return f'it is damaged ({type(error).__name__}: {ascii(detail)[1:-1]})'
