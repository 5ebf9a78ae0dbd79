"""FasterViT's files take every size: one window, one row of them, many."""
import copy

import pytest
import torch
from mmengine.registry import DefaultScope

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from conftest import ROOT  # noqa: E402
from helpers import FASTERVIT_KIND, randomize  # noqa: E402
from mmfastvit import reparameterize  # noqa: E402
from mmfastvit.engine.config import load_config  # noqa: E402
from mmfastvit.engine.runner import build_runner  # noqa: E402
from mmfastvit.export import Options, export  # noqa: E402
from mmfastvit.export.formats import FORMATS  # noqa: E402
from mmfastvit.export.verification import verify  # noqa: E402
from mmfastvit_runtime.model import ExportedModel  # noqa: E402

pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
# Maps of 4x4, 1x1, 2x9 and 9x5 in stage 2, whose windows have sides of 2.
SIZES = (64, 64), (16, 16), (32, 130), (140, 70)


@pytest.fixture(scope='module')
def case(shapes, tmp_path_factory):
    """A classifier's config and checkpoint, with all that a FasterViT may have."""
    folder = tmp_path_factory.mktemp('fastervit')
    options = {'model.backbone.arch': dict(FASTERVIT_KIND, window_sizes=(7, 7, 2, 2)),
               'model.head.in_channels': 128}
    for split in ('train', 'val', 'test'):
        options |= {f'{split}_dataloader.dataset.data_root': f'{shapes}/crops',
                    f'{split}_dataloader.num_workers': 0,
                    f'{split}_dataloader.persistent_workers': False}
    cfg = load_config(ROOT / 'configs' / 'fastervit_shapes.py', options,
                      work_dir=folder / 'work')
    model = randomize(build_runner(copy.deepcopy(cfg)).model).eval()
    model.head.fc.weight.data.mul_(100)  # scores that roundings tell apart
    for name, weights in model.named_parameters():
        if name.endswith('.bias.fc2.weight'):  # biases of which no two are alike
            weights.data.mul_(30)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    DefaultScope._instance_dict.clear()
    return cfg, folder / 'model.pth', reparameterize(model)


@pytest.mark.parametrize('suffix, opset, backbone_only', [
    ('.onnx', None, False), pytest.param('.onnx', None, True, marks=pytest.mark.slow),
    pytest.param('.onnx', 11, False, marks=pytest.mark.slow),
    pytest.param('.xml', None, False, marks=pytest.mark.slow),
    pytest.param('.pt2', None, False, marks=pytest.mark.slow)])
def test_every_size(suffix, opset, backbone_only, case, tmp_path):
    cfg, checkpoint, model = case
    out = tmp_path / f'model{suffix}'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out),
                    Options(backbone_only=backbone_only, opset=opset))
    DefaultScope._instance_dict.clear()
    assert len({row.size for row in report.rows}) == 2
    kind = next(row for row in FORMATS.values() if row.suffix == suffix)
    # PyTorch's own programs do not take less than they were recorded to have.
    sizes = [size for size in SIZES if suffix != '.pt2' or min(size) > 32]
    pictures = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]
    rows = verify(model, ExportedModel(kind.open(out)), pictures)
    assert {row.size for row in rows} == set(sizes)
    assert all(row.passed and row.compared for row in rows), rows
