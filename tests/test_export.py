"""Exported files compute what PyTorch computes, at every size, and say so."""
import copy
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from conftest import ROOT  # noqa: E402
from helpers import (  # noqa: E402
    build_model,
    randomize,
    relative_error,
    shapes_case,
)
from mmfastvit import (  # noqa: E402
    VARIANTS,
    ArgumentError,
    CheckpointError,
    DataError,
    runner,
)
from mmfastvit.deploy import reparameterize  # noqa: E402
from mmfastvit.export import (  # noqa: E402
    Options,
    Quantization,
    export,
    onnx_format,
    quantization,
    verification,
)
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit.export.post_processing import longer_side  # noqa: E402
from mmfastvit.export.runtime import (  # noqa: E402
    PredictionError,
    load,
    read_picture,
)
from mmfastvit.export.runtime.engines import OnnxRuntime  # noqa: E402
from mmfastvit.export.torch_format import TorchProgram  # noqa: E402

# One process for all: exports take longest, and are made once for each kind.
pytestmark = [pytest.mark.xdist_group('export'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
KINDS = ['maskrcnn', 'retinanet', 'fpn', 'classifier', 'backbone']


@pytest.fixture(scope='module')
def exported(shapes, tmp_path_factory):
    """Return a function from a kind to its case, report and file, made once."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            task = 'classifier' if kind == 'backbone' else kind
            cfg, checkpoint = shapes_case(task, shapes, folder)
            out = folder / 'model.onnx'
            report = export(copy.deepcopy(cfg), str(checkpoint), str(out),
                            Options(backbone_only=kind == 'backbone'))
            DefaultScope._instance_dict.clear()
            made[kind] = cfg, checkpoint, out, report
        return made[kind]

    return get


@pytest.mark.parametrize('kind', KINDS)
def test_equals_pytorch_at_two_sizes(kind, exported):
    _, _, out, report = exported(kind)
    assert len({row.size for row in report.rows}) == 2
    assert all(row.passed for row in report.rows), str(report)
    # New weights may find nothing in the smaller picture.
    assert any(row.compared for row in report.rows), str(report)
    stored = json.loads(Path(f'{out}.json').read_text())
    assert len(stored['rows']) == len(report.rows)


@pytest.mark.parametrize('kind', KINDS)
def test_graph_is_re_parameterized(kind, exported):
    """No norm is left, and as many GELUs as a T8 has."""
    gelus = 3 + 3 + sum(VARIANTS['t8'].depths) + (kind == 'classifier')
    graph = onnx.load(exported(kind)[2]).graph
    counts = Counter(node.op_type for node in graph.node)
    assert counts['BatchNormalization'] == 0
    assert counts['Gelu'] == gelus and counts['Erf'] == 0
    assert all(not tensor.HasField('data_location') or tensor.data_location == 0
               for tensor in graph.initializer)


@pytest.mark.parametrize('kind', KINDS)
def test_metadata(kind, exported):
    cfg, _, out, report = exported(kind)
    metadata = load(out).metadata
    assert metadata == json.loads(json.dumps(report.metadata))
    if kind != 'backbone':
        assert {'circle', 'square', 'triangle'} <= set(metadata['classes'])
        assert len(metadata['palette']) == len(metadata['classes'])
    assert metadata['embed_dims'] == [48, 96, 192, 384]


def run_tool(name, *args, **variables):
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / name, *map(str, args)], text=True,
        env={**os.environ, **variables}, capture_output=True)


def assert_refused(done, *messages):
    assert done.returncode not in (0, -9) and 'Traceback' not in done.stderr
    for message in messages:
        assert message in done.stderr


@pytest.mark.parametrize('kind, paste', [
    ('maskrcnn', False), pytest.param('maskrcnn', True, marks=pytest.mark.slow),
    pytest.param('retinanet', False, marks=pytest.mark.slow)])
def test_no_detections(kind, paste, shapes, tmp_path):
    cfg, checkpoint = shapes_case(kind, shapes, tmp_path)
    weights = torch.load(checkpoint, weights_only=True)
    for name in weights:
        if name.endswith('fc_cls.bias'):
            weights[name][-1] = 1e4  # everything is background
        elif name.endswith('retina_cls.bias'):
            weights[name] -= 1e4
    torch.save(weights, checkpoint)
    out = tmp_path / 'model.onnx'
    report = export(cfg, str(checkpoint), str(out), Options(paste=paste))
    DefaultScope._instance_dict.clear()
    assert {row.compared for row in report.rows} == {0}
    assert 'was NOT compared' in str(report)
    for size in ((1, 1), (97, 33), (200, 200)):
        found = load(out)(np.zeros((*size, 3), np.uint8))
        assert found['boxes'].shape == (0, 4) and found['scores'].shape == (0, )
        if kind == 'maskrcnn':
            assert found['masks'].shape == (0, *size)


def test_predicts_with_a_runtime_alone(exported, shapes, tmp_path):
    """Neither PyTorch nor OpenMMLab, nor this package, can be imported."""
    blocker = tmp_path / 'sitecustomize.py'
    names = 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmfastvit', 'PIL'
    blocker.write_text(f'import sys\nsys.modules.update(dict.fromkeys({names}))\n')
    picture = sorted((shapes / 'val').glob('*.png'))[0]
    alone = tmp_path / 'alone'
    shutil.copytree(ROOT / 'mmfastvit' / 'export' / 'runtime', alone / 'runtime')
    shutil.copy(ROOT / 'tools' / 'predict.py', alone)
    for kind in ('maskrcnn', 'fpn', 'classifier'):
        done = run_tool(alone / 'predict.py', exported(kind)[2], picture, '--out',
                        tmp_path / f'{kind}.png', '--score-threshold', 0.01,
                        PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
        drawn, original = (read_picture(path) for path in
                           (tmp_path / f'{kind}.png', picture))
        assert drawn.shape == original.shape and (drawn != original).any()


def test_a_file_that_differs_is_not_kept(shapes, tmp_path, monkeypatch):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    monkeypatch.setitem(verification.TOLERANCES, 'scores', -1.)
    with pytest.raises(CheckpointError, match='computes something else'):
        export(cfg, str(checkpoint), str(tmp_path / 'out' / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert list((tmp_path / 'out').iterdir()) == []


def test_static_size(shapes, tmp_path):
    cfg, checkpoint = shapes_case('fpn', shapes, tmp_path)
    export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'),
           Options(size=(64, 96)))
    DefaultScope._instance_dict.clear()
    model = load(tmp_path / 'model.onnx')
    sides = onnx.load(tmp_path / 'model.onnx').graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in sides.dim][2:] == [64, 96]
    found = model(np.zeros((50, 40, 3), np.uint8))
    assert found['labels'].shape == (50, 40)


@pytest.mark.parametrize('name, changes, message', [
    ('rtmdet_fastvit_sa12_coco.py', {}, 'cannot be exported'),
    ('retinanet_fastvit_sa12_coco.py', {'test_cfg.nms.type': 'soft_nms'},
     'soft_nms'),
    ('maskrcnn_fastvit_sa12_coco.py',
     {'test_cfg.rcnn.nms.class_agnostic': True}, 'class_agnostic'),
    ('maskrcnn_fastvit_sa12_coco.py', {'test_cfg.rpn.max_per_img': -1},
     'max_per_img=-1'),
    ('retinanet_fastvit_sa12_coco.py', {'test_cfg.min_bbox_size': 2},
     'min_bbox_size'),
    ('retinanet_fastvit_sa12_coco.py', {'bbox_head.__class__': 'ATSSHead'},
     'centernesses'),
    ('fpn_fastvit_sa12_ade20k.py', {'align_corners': True}, 'align_corners'),
    ('fpn_fastvit_sa12_ade20k.py', {'test_cfg.mode': 'slide'}, 'whole')])
def test_what_would_compute_something_else_is_refused(name, changes, message):
    _, model = build_model(name)
    DefaultScope._instance_dict.clear()
    for key, value in changes.items():
        *path, last = key.split('.')
        node = model
        for part in path:
            node = getattr(node, part)
        if value == 'ATSSHead':
            from mmdet.models.dense_heads import ATSSHead as value
        if isinstance(node, dict):
            node[last] = value
        else:
            setattr(node, last, value)
    if name.startswith('rtmdet'):
        with pytest.raises(ArgumentError, match='--backbone-only'):
            exportable(model)
    with pytest.raises(ArgumentError, match=message):
        exportable(model)


def test_paste_equals_mmdet_s():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    from mmfastvit.export.post_processing import paste_masks
    from mmfastvit.export.runtime.model import paste
    random = np.random.RandomState(0)
    masks = random.rand(6, 28, 28).astype(np.float32)
    boxes = np.array([[3.2, 4.1, 30.7, 20.2], [-5, -3, 10, 60], [0, 0, 50, 40],
                      [7, 7, 7, 9], [7.5, 7, 7.5, 9], [48.5, 2, 49.5, 39]], np.float32)
    in_graph = paste_masks(torch.from_numpy(masks), torch.from_numpy(boxes), 40, 50)
    for mask, box, of_graph in zip(masks, boxes, in_graph):
        part, place = _do_paste_mask(torch.from_numpy(mask)[None, None],
                                     torch.from_numpy(box)[None], 40, 50)
        expected = np.zeros((40, 50), np.float32)
        expected[place] = part[0]
        found = np.zeros((40, 50), np.float32)
        values, where = paste(mask, box, (40, 50))
        found[where] = values
        expected = np.nan_to_num(expected)  # which is below every threshold
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(of_graph, expected, atol=1e-5)


@pytest.mark.parametrize('suffix', ['.onnx', *(
    pytest.param(suffix, marks=pytest.mark.slow) for suffix in ('.xml', '.pt2'))])
def test_masks_pasted_in_the_graph(suffix, exported, shapes, tmp_path):
    """Equal PyTorch's, and follow the picture when it was resized."""
    cfg, checkpoint, _, _ = exported('maskrcnn')
    out = tmp_path / f'model{suffix}'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(paste=True))
    DefaultScope._instance_dict.clear()
    assert any(row.compared for row in report.rows if row.quantity == 'masks')
    if suffix == '.pt2':  # read by PyTorch alone
        return
    model = load(out)
    batch = model.prepare(read_picture(sorted((shapes / 'val').glob('*.png'))[0]))
    found = model.run(batch)
    assert found['masks'].shape[1:] == batch.shape[2:] == (128, 128)
    assert found['masks'].dtype == np.uint8 and set(np.unique(found['masks'])) == {0, 1}
    found['masks'][:] = 0
    found['masks'][:, 32:96, 16:64] = 1
    masks = model.restore(found, (128, 128), (64, 64))['masks']
    assert masks.shape == (len(found['boxes']), 64, 64) and masks.dtype == bool
    assert masks[:, 16:48, 8:32].all() and masks.sum() == masks[:, 16:48, 8:32].size
    with pytest.raises(ArgumentError, match='leave --paste out'):
        export(copy.deepcopy(cfg), str(checkpoint), str(out),
               Options(backbone_only=True, paste=True))
    DefaultScope._instance_dict.clear()


def test_weights_beyond_the_file(exported, tmp_path, monkeypatch):
    """As PyTorch's exporter writes them from 1.5 GB on; both files move together."""
    from torch.onnx._internal.exporter import _onnx_program
    monkeypatch.setattr(_onnx_program, '_LARGE_MODEL_THRESHOLD', 2**20)
    cfg, checkpoint, plain, _ = exported('classifier')
    report = export(copy.deepcopy(cfg), str(checkpoint), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert {path.name for path in tmp_path.iterdir()} == {
        'model.onnx', 'model.onnx.data', 'model.onnx.json'}
    assert report.size > plain.stat().st_size
    picture = np.zeros((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(load(tmp_path / 'model.onnx')(picture)['scores'],
                                  load(plain)(picture)['scores'])


PIPELINES = {
    'mmdet': [dict(type='Resize', scale=(133, 80), keep_ratio=True)],
    'mmseg': [dict(type='Resize', scale=(204, 51), keep_ratio=True),
              dict(type='ResizeToMultiple', size_divisor=32)],
    'mmpretrain': [dict(type='ResizeEdge', scale=71, edge='short', backend='pillow',
                        interpolation='bicubic'),
                   dict(type='CenterCrop', crop_size=64)],
    'mmpretrain, OpenCV': [dict(type='ResizeEdge', scale=71, interpolation='bicubic')],
    'mmpretrain, square': [dict(type='Resize', scale=48)]}


@pytest.mark.parametrize('name', PIPELINES)
def test_pictures_are_resized_as_the_pipelines_do(name):
    from mmengine.config import Config, ConfigDict
    from mmengine.registry import TRANSFORMS, init_default_scope

    from mmfastvit.export.metadata import resize_steps
    from mmfastvit.export.runtime.pictures import STEPS
    pipeline = PIPELINES[name]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    init_default_scope(name.split(',')[0])
    transforms = [TRANSFORMS.build(ConfigDict(step)) for step in pipeline]
    DefaultScope._instance_dict.clear()
    for size in ((75, 101), (333, 47), (64, 64), (500, 333)):
        picture = np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)
        results = dict(img=picture, img_shape=size, ori_shape=size)
        for transform in transforms:
            results = transform(results)
        resized = picture
        for step in resize_steps(cfg):
            resized = STEPS[step.pop('type')](resized, **step)
        np.testing.assert_array_equal(resized, results['img'])


@pytest.mark.parametrize('step', [
    dict(type='Pad', size_divisor=32), dict(type='Resize', scale_factor=2.),
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadImageFromFile', imdecode_backend='pillow')])
def test_other_pipelines_are_refused(step):
    from mmengine.config import Config

    from mmfastvit.export.metadata import resize_steps
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[step]))))
    with pytest.raises(ArgumentError, match='cannot be exported'):
        resize_steps(cfg)


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', 'I;16', 'turned'])
def test_pictures_are_read_as_the_toolboxes_do(mode, tmp_path):
    import mmcv
    from PIL import Image
    random = np.random.RandomState(0)
    picture = Image.fromarray(random.randint(0, 256, (12, 8, 3), np.uint8))
    path = tmp_path / ('picture.jpg' if mode in ('CMYK', 'turned') else 'picture.png')
    if mode == 'turned':
        exif = picture.getexif()
        exif[0x0112] = 6  # a camera held upright
        picture.save(path, exif=exif)
        assert read_picture(path).shape == (8, 12, 3)
    elif mode == 'I;16':
        Image.fromarray(random.randint(0, 2**16, (12, 8)).astype(np.uint16)).save(path)
    else:
        picture.convert(mode).save(path)
    np.testing.assert_array_equal(read_picture(path), mmcv.imread(str(path)))


def test_bad_pictures_and_files(exported, tmp_path):
    model = exported('classifier')[2]
    empty, text = tmp_path / 'empty.png', tmp_path / 'text.png'
    empty.write_bytes(b'')
    text.write_text('no picture')
    for path in (empty, text, tmp_path / 'missing.png'):
        with pytest.raises(PredictionError, match='picture'):
            read_picture(path)
    truncated = tmp_path / 'truncated.onnx'
    truncated.write_bytes(Path(model).read_bytes()[:10000])
    foreign = tmp_path / 'foreign.onnx'
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, foreign)
    for path, message in ((truncated, 'damaged'), (foreign, 'metadata'),
                          (tmp_path / 'missing.onnx', 'no file'), (text, '.onnx')):
        assert_refused(run_tool('predict.py', path, text), message)
    assert_refused(run_tool('predict.py', model, text, '--out', tmp_path), 'no picture')


def test_bad_openvino_files(exported, tmp_path):
    openvino = pytest.importorskip('openvino')
    path, weights = tmp_path / 'model.xml', tmp_path / 'model.bin'
    model = openvino.convert_model(exported('classifier')[2])
    openvino.save_model(model, path)
    with pytest.raises(PredictionError, match='no metadata'):
        load(path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(PredictionError, match='damaged.*[Ww]eights'):
        load(path)
    weights.unlink()
    with pytest.raises(PredictionError, match='beside it'):
        load(path)
    weights.touch()
    for content in ('', path.read_text()[:3000]):
        path.write_text(content)
        with pytest.raises(PredictionError, match='damaged'):
            load(path)


@pytest.mark.parametrize('shape', [(1, 1, 3), (1000, 3, 3), (3, 1000, 3)])
@pytest.mark.parametrize('kind', KINDS)
def test_pictures_of_odd_shapes(kind, shape, exported):
    found = load(exported(kind)[2])(np.full(shape, 100, np.uint8))
    assert all(np.isfinite(array).all() for array in found.values())
    if kind == 'fpn':
        assert found['labels'].shape == shape[:2]


SLOW = pytest.mark.slow


@pytest.mark.parametrize('kind', [
    'maskrcnn', 'classifier', *(pytest.param(kind, marks=SLOW) for kind in
                                ('retinanet', 'fpn', 'backbone'))])
@pytest.mark.parametrize('suffix', ['.xml', '.pt2'])
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


@pytest.mark.parametrize('kind, opset, size', [
    ('fpn', 11, (64, 96)), ('backbone', 13, (64, 96)),
    ('retinanet', 11, None), ('maskrcnn', 16, None), ('fpn', 11, None),
    *(pytest.param(*row, marks=SLOW) for row in (
        ('classifier', 11, (64, 96)), ('retinanet', 11, (64, 96)),
        ('classifier', 11, None), ('backbone', 11, None), ('maskrcnn', 17, None),
        ('classifier', 18, None), ('maskrcnn', 18, (64, 96)), ('fpn', 18, None)))])
def test_opsets(kind, opset, size, shapes, tmp_path):
    """Old ones of one size are for boards, the operators listed."""
    cfg, checkpoint = shapes_case('classifier' if kind == 'backbone' else kind,
                                  shapes, tmp_path)
    out = tmp_path / 'model.onnx'
    report = export(cfg, str(checkpoint), str(out), Options(
        opset=opset, size=size, backbone_only=kind == 'backbone'))
    DefaultScope._instance_dict.clear()
    assert any(row.compared for row in report.rows)
    assert len({row.size for row in report.rows}) == (2 if size is None else 1)
    model = onnx.load(out)
    versions = {item.domain: item.version for item in model.opset_import}
    assert versions[''] == opset
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts['BatchNormalization'] == 0
    if opset < 18:
        assert {node.domain for node in model.graph.node} == {''}
        assert len(versions) == 1
    if opset < 18 and size:
        assert report.operators == counts
        shape = model.graph.input[0].type.tensor_type.shape
        assert [side.dim_value for side in shape.dim] == [1, 3, 64, 96]
    if opset < 18 and size and kind != 'retinanet':  # what it finds varies
        assert not set(counts) & {'LayerNormalization', 'Gelu', 'Shape', 'Constant'}


def test_the_longer_side_is_not_decided_at_export():
    """PyTorch's older exporter follows what a trace records."""
    traced = torch.jit.trace(lambda image: torch.as_tensor(longer_side(image)),
                             torch.zeros(1, 3, 4, 8))
    for size, longer in (((4, 8), 8), ((9, 4), 9), ((5, 7), 7)):
        assert traced(torch.zeros(1, 3, *size)) == longer


def test_attention_of_old_opsets(tmp_path):
    """In parts, at every size; a T8, as in most tests, has none."""
    _, model = build_model('fastvit_sa12_shapes.py')
    DefaultScope._instance_dict.clear()
    task, module = exportable(reparameterize(randomize(model.eval())), True)
    path = tmp_path / 'model.onnx'
    onnx_format.write(module, torch.zeros(2, 3, 64, 64, dtype=torch.uint8), path,
                      dict(task=task, size=None, batch=None), opset=11)
    counts = onnx_format.operators(path)
    assert counts['Softmax'] == 2 and not counts['LayerNormalization']
    pictures = torch.randint(0, 256, (3, 3, 96, 160), dtype=torch.uint8)
    with torch.no_grad():
        expected, = module(pictures)
    found, = OnnxRuntime(path).run(pictures.numpy()).values()
    assert relative_error(torch.from_numpy(found), expected) < 1e-5


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


@pytest.mark.parametrize('kind, name, dtype', [
    ('classifier', 'model.onnx', 'int8'), ('classifier', 'model.onnx', 'float16'),
    ('classifier', 'model.xml', 'int8'),
    *(pytest.param(kind, name, dtype, marks=SLOW) for kind in ('maskrcnn', 'fpn')
      for name in ('model.onnx', 'model.xml') for dtype in ('int8', 'float16'))])
def test_fewer_bits(kind, name, dtype, exported, tmp_path):
    pytest.importorskip('openvino')
    cfg, checkpoint, plain, _ = exported(kind)
    out = tmp_path / name
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
        quantization=Quantization(dtype, max_drop=100.)))
    DefaultScope._instance_dict.clear()
    costs = report.costs
    assert costs.size < (0.33 if dtype == 'int8' else 0.6)
    assert costs.speed > 0 and costs.in_float32 == []
    found = runner.test(copy.deepcopy(cfg), str(out))
    DefaultScope._instance_dict.clear()
    for metric, (_, after) in costs.metrics.items():
        assert after == pytest.approx(
            found[metric] * quantization.METRICS[metric], nan_ok=True)
    assert json.loads(Path(f'{out}.json').read_text())['costs']['dtype'] == dtype
    if name.endswith('.onnx'):
        counts = Counter(node.op_type for node in onnx.load(out).graph.node)
        floats = Counter(node.op_type for node in onnx.load(plain).graph.node)
        assert counts['Conv'] == floats['Conv']
        assert (counts['QuantizeLinear'] > 0) == (dtype == 'int8')
        # Weights have scales of their own channels.
        scales = {array.name: array.dims for array in onnx.load(out).graph.initializer
                  if array.name.endswith('weight_scale')}
        assert all(dims[0] > 1 for dims in scales.values())


def test_most_sensitive_layers_stay(exported, tmp_path, monkeypatch):
    """And where that does not help, nothing is written."""
    cfg, checkpoint, _, _ = exported('classifier')
    monkeypatch.setattr(quantization, 'TRIALS', (0, 4))
    points = iter([90., 80., 89.5])
    monkeypatch.setattr(quantization, '_metrics', lambda *_: {'top-1': next(points)})
    out = tmp_path / 'model.onnx'
    report = export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
        quantization=Quantization('int8')))
    DefaultScope._instance_dict.clear()
    assert len(report.costs.in_float32) == 4
    layers = {node.name: node for node in onnx.load(out).graph.node}
    for name in report.costs.in_float32:
        assert not layers[name].input[1].endswith('DequantizeLinear_Output')
    out.unlink()
    points = iter([90., 80., 80.])
    with pytest.raises(ArgumentError, match='loses 10.0 points'):
        export(copy.deepcopy(cfg), str(checkpoint), str(out), Options(
            quantization=Quantization('int8')))
    DefaultScope._instance_dict.clear()
    assert not out.exists()


def test_calibration_pictures(exported, tmp_path):
    cfg, _, out, _ = exported('classifier')
    model = load(out)
    own = quantization.calibration_pictures(cfg, model)
    assert 0 < len(own) <= quantization.PICTURES
    assert all(picture.dtype == np.uint8 and picture.shape[:2] == (1, 3)
               for picture in own)
    with pytest.raises(DataError, match='no pictures'):
        quantization.calibration_pictures(cfg, model, str(tmp_path))
    (tmp_path / 'broken.jpg').write_text('no picture')
    with pytest.raises(DataError, match='broken.jpg'):
        quantization.calibration_pictures(cfg, model, str(tmp_path))


@pytest.mark.parametrize('name, options, message', [
    ('model.pt2', dict(quantization=Quantization('int8')), 'OpenVINO'),
    ('model.onnx', dict(quantization=Quantization('int4')), 'int8'),
    ('model.onnx', dict(quantization=Quantization('int8'), backbone_only=True),
     'metric'),
    ('model.tflite', {}, '.onnx'),
    ('model.onnx', dict(opset=10), '11 to 20'),
    ('model.onnx', dict(format='openvino'), '.xml'),
    ('model.pt2', dict(opset=18), 'leave it out'),
    ('model.mlpackage', {}, '--static'),
    ('checkpoint/model.onnx', {}, 'cannot be written')])
def test_bad_targets(name, options, message, shapes, tmp_path):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    (tmp_path / 'checkpoint').write_text('a file, no folder')
    before = set(tmp_path.iterdir())
    with pytest.raises(ArgumentError, match=message):
        export(cfg, str(checkpoint), str(tmp_path / name), Options(**options))
    DefaultScope._instance_dict.clear()
    assert set(tmp_path.iterdir()) == before


def test_what_detectors_cannot_leave_as(shapes, tmp_path):
    cfg, checkpoint = shapes_case('maskrcnn', shapes, tmp_path)
    for name, opset, message in (('model.onnx', 15, '16 to 20'),
                                 ('model.mlpackage', None, '--backbone-only')):
        with pytest.raises(ArgumentError, match=message):
            export(copy.deepcopy(cfg), str(checkpoint), str(tmp_path / name),
                   Options(opset=opset, size=(64, 64)))
        DefaultScope._instance_dict.clear()


def test_what_libraries_raise_is_said(shapes, tmp_path, monkeypatch):
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    before = set(tmp_path.iterdir())

    def fails(*args, **kwargs):
        raise RuntimeError('aten::new is unknown\nand more')
    monkeypatch.setattr(torch.export, 'export', fails)
    with pytest.raises(ArgumentError, match='leave as onnx: aten::new is unknown Exp'):
        export(cfg, str(checkpoint), str(tmp_path / 'model.onnx'))
    DefaultScope._instance_dict.clear()
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize('kind', ['maskrcnn', 'fpn', 'classifier'])
def test_metric_through_the_file(kind, exported):
    cfg, checkpoint, out, _ = exported(kind)
    found = []
    for path in (checkpoint, out):
        found.append(runner.test(copy.deepcopy(cfg), str(path)))
        DefaultScope._instance_dict.clear()
    assert found[1] == pytest.approx(found[0], abs=1e-3, nan_ok=True)


def test_feature_maps_have_no_metric(exported):
    cfg, _, out, _ = exported('backbone')
    with pytest.raises(ArgumentError, match='whole model'):
        runner.test(copy.deepcopy(cfg), str(out))
    DefaultScope._instance_dict.clear()
