"""The data sets of a config: found in their wrappers, and told apart."""
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmfastvit.utils.errors import ArgumentError

from .presence import is_remote

# Where the classes are whose reading of annotations is known.
_KNOWN = (('coco', 'mmdet.datasets.coco', 'CocoDataset'),
          ('segmentation', 'mmseg.datasets.basesegdataset', 'BaseSegDataset'),
          ('classification', 'mmpretrain.datasets.custom', 'CustomDataset'),
          ('hands', 'mmfastvit.datasets.freihand', 'FreiHANDDataset'))


@dataclass(frozen=True)
class DataSet:
    """A data set that is checked.

    Args:
        key: Of its setting, dotted.
        split: ``'train'``, ``'val'`` or ``'test'``.
        node: The setting.
        kind: ``'coco'``, ``'segmentation'``, ``'classification'`` or ``'hands'``.
        built: The data set itself, which has read nothing yet.
    """
    key: str
    split: str
    node: dict
    kind: str
    built: BaseDataset

    def steps(self, name: str) -> list[dict]:
        """Return the steps of its pipeline that are of this type."""
        return [step for step in self.node.get('pipeline') or []
                if isinstance(step, dict) and type_name(step) == name]


def leaves(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    """Yield (dotted key, setting) of each data set inside wrappers."""
    loader = cfg.get(f'{split}_dataloader')
    if isinstance(loader, dict):
        yield from _unwrap(loader.get('dataset'), f'{split}_dataloader.dataset')


def find_sets(cfg: Config, split: str) -> list[DataSet]:
    """Return the data sets of a split that can be checked.

    Left out is what lies elsewhere, what reads its annotations in a way of its
    own, and what takes other arguments.

    Raises:
        ArgumentError: A data set refuses its settings.
    """
    found = []
    for key, node in leaves(cfg, split):
        scope = node.get('_scope_', cfg.get('default_scope'))
        with DATASETS.switch_scope_and_registry(scope) as registry:
            cls = _class_of(node.get('type'), registry)
            kind = _kind(cls)
            if kind is None or is_remote(node):
                continue
            options = copy.deepcopy(dict(node, pipeline=[], lazy_init=True))
            for name in ('type', '_scope_'):
                options.pop(name, None)
            try:
                built = cls(**options)
            except (ValueError, AssertionError) as error:
                raise ArgumentError(
                    f'{key}: {cls.__name__} refuses its settings, because '
                    f'{str(error).rstrip(".")}. Change them.') from error
            except Exception:
                continue
        found.append(DataSet(key, split, node, kind, built))
    return found


def type_name(node: dict) -> str:
    """Return the name of a setting's type, without its scope or module."""
    name = node.get('type')
    return str(getattr(name, '__name__', name)).rsplit('.', 1)[-1]


def _unwrap(node: Any, key: str) -> Iterator[tuple[str, dict]]:
    if not isinstance(node, dict):
        return
    inside = [('dataset', node.get('dataset'))]
    if isinstance(node.get('datasets'), (list, tuple)):
        inside += [(f'datasets.{i}', child)
                   for i, child in enumerate(node['datasets'])]
    inside = [(name, child) for name, child in inside if isinstance(child, dict)]
    if not inside:
        yield key, node
    for name, child in inside:
        yield from _unwrap(child, f'{key}.{name}')


def _class_of(name: Any, registry: Any) -> type | None:
    if isinstance(name, str):
        try:
            return registry.get(name)
        except Exception:  # a toolbox that is not installed
            return None
    return name if isinstance(name, type) else None


def _kind(cls: Any) -> str | None:
    """Return how a class reads annotations, None if in a way of its own."""
    for kind, module, name in _KNOWN:
        # Whoever has the class has imported what it is derived from.
        base = getattr(sys.modules.get(module), name, None)
        if isinstance(cls, type) and base is not None and issubclass(cls, base):
            own = [method for method in ('load_data_list', 'parse_data_info')
                   if getattr(cls, method) is not getattr(base, method)]
            return None if own else kind
    return None
