"""Whether pictures are normalised as the named weights were trained with.

A wrong mean does not fail; it only costs accuracy.
"""
import logging
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmfastvit.models.families import find_published
from mmfastvit.utils.nested import dicts

_TOLERANCE = 0.5  # of pixels from 0 to 255: rounded values are right, too


def check_preprocessing(cfg: Config) -> None:
    """Warn if ``data_preprocessor`` differs from what published weights expect.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
    """
    models = {'model': cfg.get('model') or {}}
    models |= {path: node for path, node in dicts(models['model'], 'model')
               if 'data_preprocessor' in node}
    for path, model in models.items():
        source = _published(model.get('backbone'))
        place = f'{path}.data_preprocessor'
        preprocessor = model.get('data_preprocessor')
        if preprocessor is None and 'data_preprocessor' in cfg:
            place, preprocessor = 'data_preprocessor', cfg.data_preprocessor
        if source is None or not isinstance(preprocessor, dict):
            continue
        row = find_published(source)
        to_rgb = 'to_rgb' if cfg.get('default_scope') == 'mmpretrain' else 'bgr_to_rgb'
        wanted = {'mean': list(row.mean), 'std': list(row.std), to_rgb: True}
        given = {key: preprocessor.get(key) for key in wanted}
        if not all(_agree(given[key], wanted[key]) for key in wanted):
            print_log(
                f'{place} has {_describe(given)}, and {source} was trained with '
                f'{_describe(wanted)}. This does not fail; it costs accuracy. Write '
                f'{place}=dict({_describe(wanted)}).', 'current', logging.WARNING)


def _published(backbone: Any) -> str | None:
    """Return the name of the weights that a backbone starts from, if it is known."""
    init_cfg = backbone.get('init_cfg') if isinstance(backbone, dict) else None
    source = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
    name = str(source).partition('#')[0]
    return name if find_published(name) else None


def _agree(given: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return bool(given) == wanted
    return (isinstance(given, (list, tuple)) and len(given) == len(wanted)
            and all(isinstance(a, (int, float)) and abs(a - b) <= _TOLERANCE
                    for a, b in zip(given, wanted)))


def _describe(values: dict[str, Any]) -> str:
    return ', '.join(f'{key}={value}' for key, value in values.items())
