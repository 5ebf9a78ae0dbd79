"""The config that builds a deploy form."""
import copy
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from mmfastvit.models.backbone import Backbone
from mmfastvit.models.fastvit import FastViTNeck
from mmfastvit.utils.errors import ArgumentError


def deploy_config(cfg: Config) -> Config:
    """Return the config whose model is built in deploy form.

    What builds a network of ours is told by its class, however the config names it:
    ``'FastViT'``, ``'mmengine.FastViT'``, the class itself, one derived from it. It
    may stand at any depth.

    Raises:
        ArgumentError: The config cannot be written as text.
    """
    cfg = copy.deepcopy(cfg)
    _deploy(cfg.model, cfg.get('default_scope') or 'mmengine')
    text = Config(_as_text(cfg.to_dict())).pretty_text
    return Config.fromstring(text, '.py')


def _deploy(node: Any, scope: str) -> None:
    if isinstance(node, dict):
        scope = node.get('_scope_') or scope
        kind = _class_of(node.get('type'), scope)
        if isinstance(kind, type) and issubclass(kind, (Backbone, FastViTNeck)):
            node.update(deploy=True, init_cfg=None)
    if isinstance(node, (dict, list, tuple)):
        for child in node.values() if isinstance(node, dict) else node:
            _deploy(child, scope)


def _class_of(kind: Any, scope: str) -> Any:
    """Return what a ``type`` in a config stands for, None if nothing is known."""
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(scope) as registry:
        try:
            return registry.get(kind)
        except Exception:  # norms, boxes and the like are in other registries
            return None


def _as_text(node: Any, path: str = '') -> Any:
    """Return ``node`` with names for classes and functions, as MMEngine reads them."""
    if isinstance(node, dict):
        return {key: _as_text(value, f'{path}.{key}' if path else str(key))
                for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_as_text(value, f'{path}.{i}')
                          for i, value in enumerate(node))
    if node is None or isinstance(node, (str, int, float, bool)):
        return node
    name = getattr(node, '__qualname__', '<')
    if '<' in name:  # a lambda, something local, or an object
        raise ArgumentError(
            f'{path} in the config is {node!r}, which no config that is written as '
            'text can hold. Give numbers, strings, lists and dicts, or a class or '
            'function of a module.')
    return f'{node.__module__}.{name}'
