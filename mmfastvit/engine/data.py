"""The data of a config, looked at before anything is built."""
from mmengine.config import Config

from mmfastvit.datasets.checks import classification, coco, hands, segmentation
from mmfastvit.datasets.checks.classes import check_names
from mmfastvit.datasets.checks.presence import check_presence
from mmfastvit.datasets.checks.sets import find_sets, leaves
from mmfastvit.utils.nested import dicts

_CHECKS = dict(coco=coco.check, segmentation=segmentation.check,
               classification=classification.check, hands=hands.check)


def check_data(cfg: Config, *splits: str) -> None:
    """Raise for the first data set that is not there or does not fit the config.

    Only what lies on the local disk, and is not downloaded by the data set
    itself, is looked for. What is inside is looked at where it is known how it
    is read: as MMDetection's CocoDataset, MMSegmentation's BaseSegDataset,
    MMPretrain's CustomDataset and ImageNet and our FreiHANDDataset do, inside wrappers,
    too. A config with
    ``check_data = False`` leaves that out. Every process of a distributed run
    looks itself, because each may be on another machine.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        splits: ``'train'``, ``'val'``, ``'test'``.

    Raises:
        DataError: Data is missing or damaged.
        ArgumentError: A setting does not fit the data.
    """
    for split in splits:
        for key, node in leaves(cfg, split):
            check_names(key, node)
    for split in splits:
        for place in (f'{split}_dataloader', f'{split}_evaluator'):
            for key, node in dicts(cfg.get(place), place):
                check_presence(split, key, node)
    if cfg.get('check_data') is False:
        return
    for split in splits:
        found = find_sets(cfg, split)
        for data in found:
            _CHECKS[data.kind](data, cfg, len(list(leaves(cfg, split))) == 1)
        folders = [data for data in found if data.kind == 'classification']
        if folders and split != 'train':
            for other in find_sets(cfg, 'train'):
                if other.kind == 'classification':
                    classification.compare(folders[0], other)
