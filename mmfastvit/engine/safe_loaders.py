"""MMEngine's own loading of checkpoints, which falls back to unpickling."""
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.runner import CheckpointLoader

from mmfastvit.checkpoints.read import load_from_path_or_url


@contextmanager
def safe_loaders() -> Iterator[None]:
    """Read without executing what MMEngine loads inside.

    That is what ``init_cfg=dict(type='Pretrained', …)`` of layers that are not
    ours names, a teacher's weights, and whatever a model's constructor loads.
    """
    loaders = CheckpointLoader._schemes.copy()
    for prefix in ('', 'http://', 'https://'):
        CheckpointLoader.register_scheme(prefix, load_from_path_or_url, force=True)
    try:
        yield
    finally:
        CheckpointLoader._schemes = loaders
