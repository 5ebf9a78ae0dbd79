"""An image encoder as one file: the embedding of PyTorch's network."""
import numpy as np
import pytest
import torch

from conftest import ROOT
from helpers import MCI3_KIND, build_timm, relative_error
from mmfastvit.apis.convert import convert_checkpoint
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import build_runner
from mmfastvit.export import Options, export
from mmfastvit.models.fastvit.variants import Variant
from mmfastvit_runtime import load


def config(folder):
    cfg = load_config(ROOT / 'configs' / 'fastvit_mci0_embedding.py',
                      work_dir=folder / 'work')
    cfg.model.backbone.update(arch=MCI3_KIND, out_indices=(4,), init_cfg=None)
    cfg.model.neck.update(in_channels=512, embedding_dims=24, init_cfg=None)
    return cfg


@pytest.mark.parametrize('name', ['encoder.onnx', pytest.param(
    'encoder.xml', marks=pytest.mark.slow)])
def test_a_picture_s_embedding(name, tmp_path):
    pytest.importorskip('onnxruntime' if name.endswith('.onnx') else 'openvino')
    cfg = config(tmp_path)
    model = build_runner(cfg, keep_log=False).model.eval()
    torch.save(model.state_dict(), tmp_path / 'encoder.pth')
    report = export(cfg, tmp_path / 'encoder.pth', tmp_path / name, Options())
    assert report.rows and all(row.passed for row in report.rows)
    assert len({row.size for row in report.rows}) == 2
    assert report.metadata['outputs'] == ['embedding']
    picture = np.random.RandomState(0).randint(0, 256, (256, 256, 3), np.uint8)
    found = load(tmp_path / name)(picture)['embedding']
    x = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected, = model.extract_feat(x)
    assert found.shape == (24,)
    assert relative_error(torch.from_numpy(found), expected[0]) < 1e-4


def test_a_published_encoder_becomes_a_checkpoint(tmp_path, monkeypatch):
    peer = build_timm(MCI3_KIND).float()
    torch.save({f'visual.trunk.{k}': v for k, v in peer.state_dict().items()},
               tmp_path / 'clip.bin')
    tiny = Variant(**MCI3_KIND)
    for place in ('models.fastvit.variants', 'models.fastvit.key_names'):
        monkeypatch.setattr(f'mmfastvit.{place}.VARIANTS', dict(tiny=tiny))
    monkeypatch.setattr('mmfastvit.models.fastvit.weights.FastViTWeights.variants',
                        dict(tiny=tiny))
    report = convert_checkpoint(tmp_path / 'clip.bin', tmp_path / 'encoder.pth', True)
    assert 'image encoder of 24 dimensions' in str(report) and not report.left_out
    model = build_runner(config(tmp_path), keep_log=False).model.eval()
    load_weights(model, tmp_path / 'encoder.pth')
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected, (actual,) = peer.eval()(x), model.extract_feat(x)
    assert relative_error(actual, expected) < 1e-5
