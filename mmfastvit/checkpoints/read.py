"""Reading checkpoint files that nobody has vouched for."""
import hashlib
import os
import re
import socket
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError
from mmfastvit.utils.files import whole_file

from .unpickle import load_pickle

_DOWNLOAD_TIMEOUT_S = 60
# Where checkpoints of OpenMMLab, timm and others keep their tensors.
_WRAPPERS = ('state_dict', 'model', 'module', 'state_dict_ema', 'model_ema')
_IMPOSTORS = {b'': 'empty', b'<': 'a web page',
              b'version https://git-lfs': 'a Git LFS pointer'}


def load_file(path: str, map_location: Any = 'cpu') -> Any:
    """Return what a local checkpoint file holds, executing none of it.

    Args:
        path: A ``.safetensors`` file, or what ``torch.save`` writes.
        map_location: Where tensors of the latter go, as for ``torch.load``.

    Raises:
        CheckpointError: The file is missing, damaged, or no checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'there is no checkpoint file {path}.')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file as load_safetensors
            return load_safetensors(path)
        return load_pickle(path, map_location)
    except Exception as error:  # zip, pickle, header and IO errors alike
        raise CheckpointError(
            f'{path} ({path.stat().st_size:,} bytes) cannot be read as a '
            f'checkpoint: {_reason(path, error)}. Allowed are .safetensors files, '
            'and files by torch.save that hold tensors and plain data. If the '
            'download was cut short, fetch the file again; if it holds other '
            'objects, save its state_dict alone.') from error


def download(url: str) -> Path:
    """Return the local copy of ``url``, fetched once into torch's hub cache.

    What is cached was read successfully first: neither half a file nor a page
    about the file stays.

    Raises:
        CheckpointError: It cannot be fetched, or is no checkpoint.
    """
    name = PurePosixPath(urlsplit(url).path)
    # Many models share a file name; the address tells them apart.
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    stem, dot, suffixes = name.name.partition('.')
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{stem}-{digest}{dot}{suffixes}')
    error = None
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not path.exists():
        try:
            _fetch(url, path)
        except Exception as caught:  # the other ranks wait at the barrier
            error = caught
    barrier()
    if not path.exists():
        detail = f': {error or "see the output of local rank 0"}'
        raise CheckpointError(f'{url} cannot be downloaded{detail}') from error
    return path


def _fetch(url: str, path: Path) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        with whole_file(path) as unfinished:
            torch.hub.download_url_to_file(url, str(unfinished))
            load_file(unfinished)
    finally:
        socket.setdefaulttimeout(timeout)


def load_from_path_or_url(source: str, map_location: Any = 'cpu') -> Any:
    """Return what a checkpoint at a path or an http(s) URL holds.

    MMEngine logs the name of its loaders from the eleventh letter on.

    Raises:
        CheckpointError: It cannot be fetched or read.
    """
    source = str(source)
    if source.startswith(('http://', 'https://')):
        return load_file(download(source), map_location)
    if '://' in source:
        raise CheckpointError(f'{source} has a scheme that is not supported; '
                              'allowed are paths, http:// and https://.')
    return load_file(source, map_location)


def read_state_dict(source: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, unwrapped, on the CPU.

    Args:
        source: A path or an http(s) URL.

    Raises:
        CheckpointError: It cannot be fetched or read, or holds no state dict.
    """
    content = load_from_path_or_url(source)
    while isinstance(content, dict):
        inner = [content[key] for key in _WRAPPERS
                 if isinstance(content.get(key), dict)]
        if not inner:
            break
        content = inner[0]
    tensors = {}
    if isinstance(content, dict):
        tensors = {k: v for k, v in content.items()
                   if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'{source} holds no state dict: a flat dict from names to tensors, '
            f'bare or under one of the keys {list(_WRAPPERS)}.')
    return tensors


def latest_checkpoint(path: str) -> str:
    """Return ``path``, or if it is a work directory its latest checkpoint.

    Raises:
        CheckpointError: The directory holds none.
    """
    if not Path(path).is_dir():
        return str(path)
    from mmengine.runner import find_latest_checkpoint  # imports much
    latest = find_latest_checkpoint(path)
    if latest and not Path(latest).exists():  # the directory was moved
        latest = str(Path(path, Path(latest).name))
    if not latest:
        raise CheckpointError(f'{path} holds no checkpoint; give a file, or the '
                              'work directory of a training run.')
    return latest


def _reason(path: Path, error: Exception) -> str:
    """Say in one phrase why reading failed."""
    with path.open('rb') as file:
        start = file.read(64).lstrip()
    for magic, kind in _IMPOSTORS.items():
        if start.startswith(magic) if magic else not start:
            return f'it is {kind}'
    unsupported = re.search(r'[Uu]nsupported (?:global|class|operand).*?'
                            r'(?:GLOBAL )?([\w.]+) was not', str(error))
    if unsupported:
        return f'it holds a {unsupported[1]}'
    return (str(error).splitlines() or [''])[0] or type(error).__name__
