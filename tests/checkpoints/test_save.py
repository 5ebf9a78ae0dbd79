"""What is written is whole, or not there."""
import os

import pytest
import torch
from torch.testing import assert_close

from mmfastvit.checkpoints.read import load_file
from mmfastvit.checkpoints.save import save


def test_what_is_saved_is_read(tmp_path):
    content = dict(state_dict=dict(weight=torch.randn(3)), meta=dict(arch='t8'))
    save(content, tmp_path / 'a.pth')
    found = load_file(tmp_path / 'a.pth')
    assert_close(found['state_dict'], content['state_dict'], rtol=0, atol=0)
    assert found['meta'] == content['meta']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a full disk')
def test_a_full_disk_is_noticed():
    with pytest.raises(OSError, match='No space left'):
        save(torch.ones(9), '/dev/full')
