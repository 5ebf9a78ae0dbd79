"""``mmfastvit::…`` in a config's ``_base_``, once mmfastvit is imported.

MMEngine knows by name the packages that configs can inherit from, and stamps
what they bring with the package's name as a registry scope. MMFastViT is no
scope: its configs are MMDetection's, MMSegmentation's or MMPretrain's. So they
are found here, and inherited like a file of the config's own folder.
"""
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

PACKAGE = 'mmfastvit'
CONFIGS = Path(__file__).parents[1] / '.mim' / 'configs'

_find_elsewhere = Config._get_cfg_path


def _find(name: str, child: str) -> tuple[str, str | None]:
    """Return path and scope of what ``child`` names in its ``_base_``."""
    if name.startswith(f'{PACKAGE}::'):
        return str(CONFIGS / name.removeprefix(f'{PACKAGE}::')), None
    return _find_elsewhere(name, child)


def allow_inheritance() -> None:
    """Teach MMEngine's Config, and its hub, about this package."""
    MODULE2PACKAGE[PACKAGE] = PACKAGE
    Config._get_cfg_path = staticmethod(_find)
