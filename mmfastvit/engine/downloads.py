"""Published weights that training would fetch in vain."""
from typing import Any

from mmengine.config import Config
from mmengine.model import PretrainedInit

from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.utils.nested import dicts


def drop_replaced_downloads(cfg: Config, checkpoint: str) -> None:
    """Take out of ``cfg`` the downloads of backbones and necks in ``checkpoint``.

    They would be fetched, only to be replaced: where there is no network, fine-tuning
    and resuming would fail. A teacher, which no checkpoint holds, keeps its own.

    Args:
        cfg: What is to be trained; changed in place.
        checkpoint: What the run loads before it starts.

    Raises:
        CheckpointError: It cannot be read.
    """
    parts = [(path.split('.')[-1], node) for path, node in dicts(cfg.model)
             if path.split('.')[-1] in ('backbone', 'neck') and 'teacher' not in path
             and _is_download(node.get('init_cfg'))]
    names = list(read_state_dict(checkpoint)) if parts else []
    for part, node in parts:
        if any(f'{part}.' in name for name in names):
            node['init_cfg'] = None


def _is_download(init_cfg: Any) -> bool:
    return (isinstance(init_cfg, dict)
            and init_cfg.get('type') in ('Pretrained', PretrainedInit)
            and '://' in str(init_cfg.get('checkpoint')))
