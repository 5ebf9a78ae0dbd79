"""What tells a hand in a file from PyTorch's."""
import numpy as np
import pytest
import torch
from tiny_detectors import ARCH, Graph

from helpers import randomize
from mmfastvit import reparameterize
from mmfastvit.export.models import exportable
from mmfastvit.export.verification import verify
from mmfastvit.models.hands import HandMeshEstimator
from mmfastvit_runtime import ExportedModel


@pytest.fixture(scope='module')
def case():
    """A model, and what becomes a file of it."""
    torch.manual_seed(0)
    model = HandMeshEstimator(
        dict(type='FastViT', arch=ARCH, out_indices=(3,)),
        dict(type='MeshTokenHead', in_channels=64),
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[120.] * 3,
                               std=[60.] * 3, bgr_to_rgb=True))
    model.head.joint_regressor = torch.rand(21, 778).softmax(1)
    randomize(model.backbone)
    model = reparameterize(model.eval())
    return model, *exportable(model)


@pytest.mark.parametrize('name, change, passes', [
    ('uv', lambda x: x, True), ('uv', lambda x: x + 0.1 / 64, False),
    ('uv', lambda x: 1 - x, False),
    ('joints', lambda x: x + 2e-5, False), ('vertices', lambda x: x + 2e-5, False),
    ('vertices', lambda x: x * np.float32([1, 1, -1]), False),
    ('vertices', lambda x: x[:, 1:], False),
    ('joints', lambda x: x * np.float32(np.nan), False)])
def test_other_numbers_fail(name, change, passes, case):
    model, task, module = case
    exported = ExportedModel(Graph(module, dict(
        task=task, outputs=module.outputs, classes=['hand'], palette=[[0, 0, 0]],
        size=None, batch=None, resize=[])))
    run = exported.engine.run
    exported.engine.run = lambda pictures: (
        found := run(pictures)) | {name: change(found[name])}
    pictures = [torch.randint(0, 256, (3, *size), dtype=torch.uint8)
                for size in ((64, 64), (64, 96))]
    rows = verify(model, exported, pictures)
    assert {row.quantity for row in rows} == {'uv', 'joints', 'vertices'}
    assert {row.quantity for row in rows if not row.passed} == (
        set() if passes else {name})
