"""OpenVINO's, PyTorch's and CoreML's files."""
import copy
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from helpers import shapes_case  # noqa: E402
from mmfastvit import VARIANTS  # noqa: E402
from mmfastvit.export import Options, export  # noqa: E402
from mmfastvit.export.formats.torch_program import TorchProgram  # noqa: E402
from mmfastvit_runtime import load  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
SLOW = pytest.mark.slow


@pytest.mark.parametrize('kind, suffix', [
    ('maskrcnn', '.xml'), ('classifier', '.xml'), ('classifier', '.pt2'),
    pytest.param('maskrcnn', '.pt2', marks=SLOW),
    *(pytest.param(kind, suffix, marks=SLOW) for suffix in ('.xml', '.pt2')
      for kind in ('retinanet', 'fpn', 'backbone'))])
def test_other_formats_equal_pytorch(kind, suffix, exported, tmp_path):
    """OpenVINO's runs natively, PyTorch's where no toolbox can be imported."""
    pytest.importorskip('openvino')
    cfg, checkpoint, onnx_file, _ = exported(kind)
    out = tmp_path / f'model{suffix}'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out),
                    Options(backbone_only=kind == 'backbone'))
    DefaultScope._instance_dict.clear()
    assert len({row.size for row in report.rows}) == 2
    assert any(row.compared for row in report.rows), str(report)
    assert report.size == sum(path.stat().st_size for path in tmp_path.iterdir()
                              if path.suffix != '.json')
    picture = np.random.RandomState(1).randint(0, 256, (1, 3, 75, 101), np.uint8)
    if suffix == '.xml':
        found, expected = load(out).run(picture), load(onnx_file).run(picture)
        assert set(found) == set(expected)
        if kind not in ('maskrcnn', 'retinanet'):  # whose boxes roundings choose
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-3)
    else:
        np.save(tmp_path / 'picture.npy', picture)
        done = subprocess.run(
            [sys.executable, '-c', LOADS, tmp_path, str(torch.get_num_threads())],
            text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        for name, array in TorchProgram(out).run(picture).items():
            np.testing.assert_array_equal(np.load(tmp_path / f'{name}.npy'), array)


LOADS = '''
import json, sys
sys.modules.update(dict.fromkeys(
    ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'mmfastvit')))
import numpy, torch, torchvision
folder, files = sys.argv[1], {'mmfastvit.json': ''}
torch.set_num_threads(int(sys.argv[2]))
model = torch.export.load(f'{folder}/model.pt2', extra_files=files).module()
found = model(torch.from_numpy(numpy.load(f'{folder}/picture.npy')))
found = found if isinstance(found, (tuple, list)) else [found]
for name, x in zip(json.loads(files['mmfastvit.json'])['outputs'], found):
    numpy.save(f'{folder}/{name}.npy', x.detach().numpy())
'''


@pytest.mark.parametrize('kind', ['backbone', pytest.param('classifier', marks=SLOW),
                                  pytest.param('fpn', marks=SLOW)])
def test_coreml(kind, shapes, tmp_path):
    """It cannot run here: the operators are those of the folded network."""
    pytest.importorskip('coremltools')
    cfg, checkpoint = shapes_case('classifier' if kind == 'backbone' else kind,
                                  shapes, tmp_path)
    out = tmp_path / 'model.mlpackage'
    for _ in range(2 if kind == 'backbone' else 1):  # the second replaces the first
        report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
            size=(64, 96), backbone_only=kind == 'backbone'))
        DefaultScope._instance_dict.clear()
    assert not list(tmp_path.glob('.*'))
    assert 'NOT run' in str(report) and not report.rows
    blocks = sum(VARIANTS['t8'].depths)
    count = Counter(report.operators)
    assert count['gelu'] == 3 + 3 + blocks + (kind == 'classifier')
    assert not any('norm' in name for name in count)
    assert count['softmax'] == (kind == 'classifier')  # a T8 has no attention
    import coremltools
    spec = coremltools.utils.load_spec(str(out))
    metadata = json.loads(spec.description.metadata.userDefined['mmfastvit'])
    assert metadata == json.loads(json.dumps(report.metadata))
