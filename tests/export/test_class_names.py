"""Names of classes in exported files."""
import torch
from torch import nn

from mmfastvit.export.preparation import _classes


def test_one_name_without_its_comma_is_one_class(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1)),
                    meta=dict(dataset_meta=dict(classes='circle'))),
               tmp_path / 'a.pth')
    classes, palette = _classes(None, str(tmp_path / 'a.pth'), nn.Identity())
    assert classes == ['circle']
    assert len(palette) == 1
