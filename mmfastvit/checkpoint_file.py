"""Reading checkpoint files that nobody has vouched for."""
import socket
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor

_DOWNLOAD_TIMEOUT_S = 60
_WRAPPERS = ('state_dict', 'model')  # where checkpoints keep their tensors
_HOW_TO_GO_ON = (
    'Download the file elsewhere and pass its path: in a config '
    'init_cfg=dict(type=\'Pretrained\', checkpoint=\'/path/to/file\'), on the '
    'command line --cfg-options model.backbone.init_cfg.checkpoint=/path/to/'
    'file. To start from scratch: --cfg-options model.backbone.init_cfg=None.')


_IMPOSTORS = {b'<': 'a web page',
              b'version https://git-lfs': 'a Git LFS pointer'}


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or does not fit the network."""


def load_file(path: str, map_location: Any = 'cpu') -> Any:
    """Return what a local checkpoint file holds, executing none of it.

    Args:
        path: A ``.safetensors`` file, or what ``torch.save`` writes.
        map_location: Where tensors go, as for ``torch.load``.

    Raises:
        CheckpointError: The file is missing, damaged, or no checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'There is no checkpoint file {path}. '
                              f'{_HOW_TO_GO_ON}')
    with path.open('rb') as file:
        start = file.read(64).lstrip()
    if not start:
        raise CheckpointError(f'{path} is empty: download it again.')
    for magic, kind in _IMPOSTORS.items():
        if start.startswith(magic):
            raise CheckpointError(
                f'{path} is {kind}, not a checkpoint: the download stored a '
                'page about the file. Download the file itself.')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file as load_safetensors
            return load_safetensors(path)
        with _trusted_globals():
            return torch.load(path, map_location=map_location,
                              weights_only=True)
    except Exception as error:  # zip, pickle, header and IO errors alike
        raise CheckpointError(
            f'{path} ({path.stat().st_size:,} bytes) cannot be read as a '
            f'checkpoint: {_first_line(error)}. Allowed are .safetensors '
            'files and files by torch.save that hold tensors and plain data. '
            'If the download was cut short, fetch it again; if the file holds '
            'other objects, save its state_dict alone.') from error


def download(url: str) -> Path:
    """Return the local copy of ``url``, fetched once into torch's hub cache.

    Raises:
        CheckpointError: It cannot be fetched; no partial file is left.
    """
    path = Path(torch.hub.get_dir(), 'checkpoints', url.rsplit('/', 1)[-1])
    error = None
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as caught:  # URLError, HTTPError, time-outs
            error = caught
        finally:
            socket.setdefaulttimeout(timeout)
    barrier()  # reached by all ranks, so that a failure stops each of them
    if not path.exists():
        raise CheckpointError(
            f'{url} cannot be downloaded'
            f'{f": {_first_line(error)}" if error else ""}. {_HOW_TO_GO_ON}'
        ) from error
    return path


def read_state_dict(source: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, unwrapped, on the CPU.

    Args:
        source: A path or an http(s) URL.

    Raises:
        CheckpointError: It cannot be fetched or read, or holds no state dict.
    """
    source = str(source)
    is_url = source.startswith(('http://', 'https://'))
    if '://' in source and not is_url:
        raise CheckpointError(f'{source} has a scheme that is not supported; '
                              f'allowed are paths, http:// and https://. '
                              f'{_HOW_TO_GO_ON}')
    content = load_file(download(source) if is_url else source)
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not (isinstance(content, dict) and content and all(
            isinstance(k, str) and isinstance(v, Tensor)
            for k, v in content.items())):
        raise CheckpointError(
            f'{source} holds no state dict: a flat dict from names to '
            f'tensors, bare or under one of the keys {list(_WRAPPERS)}.')
    return dict(content)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [''])[0] or type(error).__name__


def _history_attribute(owner: Any, name: str) -> Any:
    """Stand in for ``getattr``, which MMEngine's log buffers pickle."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise CheckpointError(f'the file asks for {owner!r}.{name}')
    return getattr(owner, name)


def _trusted_globals():
    """Allow what MMEngine's runner writes beside the weights: its log."""
    numpy_core = getattr(np, '_core', None) or np.core  # moved in numpy 2
    return torch.serialization.safe_globals([
        HistoryBuffer, (_history_attribute, 'builtins.getattr'), np.ndarray,
        np.dtype, numpy_core.multiarray._reconstruct,
        numpy_core.multiarray.scalar,
        *{type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4')}])
