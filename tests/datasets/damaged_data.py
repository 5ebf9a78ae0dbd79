"""Copies of the shapes, to be damaged, and the paragraph that refuses them."""
import copy
import json
from functools import cache

import pytest
from mmengine.config import Config

from conftest import ROOT
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.utils.errors import UserError

NAMES = {'coco': 'maskrcnn_fastvit_sa12_shapes', 'seg': 'fpn_fastvit_sa12_shapes',
         'cls': 'fastvit_sa12_shapes'}
DATA = 'train_dataloader.dataset.'


@cache
def _config(kind: str) -> Config:
    return load_config(ROOT / 'configs' / f'{NAMES[kind]}.py')


def config(root, kind: str, **options) -> Config:
    """Return the config of the shapes, with the data in ``root``."""
    for split in ('train', 'val', 'test'):
        options.setdefault(f'{split}_dataloader.dataset.data_root',
                           f'{root}/crops' if kind == 'cls' else f'{root}/')
        if kind == 'coco' and split != 'train':
            options.setdefault(f'{split}_evaluator.ann_file',
                               f'{root}/annotations/instances_val.json')
    cfg = copy.deepcopy(_config(kind))
    cfg.merge_from_dict(options)
    return cfg


def refused(cfg: Config, *splits: str) -> str:
    """Return the paragraph that refuses the data."""
    with pytest.raises(UserError) as caught:
        check_data(cfg, *splits or ('train', 'val'))
    message = str(caught.value)
    assert 'Traceback' not in message
    return message


def edit(root, change, split='train'):
    """Change the annotation file and return its path."""
    path = root / 'annotations' / f'instances_{split}.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return str(path)
