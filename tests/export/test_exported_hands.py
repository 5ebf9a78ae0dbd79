"""Models for hand meshes as one file: PyTorch's joints and vertices."""
import copy
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_detectors import ARCH  # noqa: E402

from conftest import ROOT  # noqa: E402
from helpers import randomize  # noqa: E402
from mmfastvit import ArgumentError  # noqa: E402
from mmfastvit.apis.evaluate import evaluate  # noqa: E402
from mmfastvit.checkpoints.whole_model import load_weights  # noqa: E402
from mmfastvit.datasets.hands import HandsSpec, generate_hands  # noqa: E402
from mmfastvit.engine.config import load_config  # noqa: E402
from mmfastvit.engine.runner import build_runner  # noqa: E402
from mmfastvit.export import Options, Quantization, export  # noqa: E402
from mmfastvit.export.evaluation import ExportedPredictor  # noqa: E402
from mmfastvit.export.formats import FORMATS  # noqa: E402
from mmfastvit_runtime import describe, draw, load  # noqa: E402

pytestmark = [pytest.mark.xdist_group('hands'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
QUANTITIES = {'uv', 'joints', 'vertices'}
HEADS = 'MeshTokenHead', 'MANOHead'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_hands(tmp_path_factory.mktemp('data') / 'hands', HandsSpec(
        num_train=4, num_evaluation=3, image_size=64))


@pytest.fixture(scope='module')
def case(root, tmp_path_factory):
    """Return a function from a head to a small config and a checkpoint of it."""
    made = {}

    def get(head):
        if head not in made:
            folder = tmp_path_factory.mktemp(head)
            cfg = load_config(ROOT / 'configs' / 'handmesh_fastvit_sa12_hands.py', {
                'test_dataloader.dataset.data_root': str(root),
                'test_dataloader.num_workers': 0}, work_dir=folder / 'work')
            cfg.model.backbone.arch = ARCH
            cfg.model.neck.in_channels = 64
            cfg.model.head = dict(type=head, in_channels=128, **(
                dict(lateral_channels=16) if head == 'MeshTokenHead' else
                dict(hand_file=str(root / 'hand.safetensors'))))
            model = build_runner(copy.deepcopy(cfg), keep_log=False).model
            randomize(model.backbone)
            randomize(model.neck)
            if head == 'MeshTokenHead':  # as training makes them
                model.head.joint_regressor = torch.rand(21, 778).mul(10).softmax(1)
                model.head.heat.weight.data.mul_(30)
            torch.save(model.state_dict(), folder / 'model.pth')
            DefaultScope._instance_dict.clear()
            made[head] = cfg, folder / 'model.pth'
        return copy.deepcopy(made[head][0]), made[head][1]

    return get


@pytest.fixture(scope='module')
def written(case, tmp_path_factory):
    """Return a function from a head, a name and options to a file, made once."""
    made = {}

    def get(head, name='hand.onnx', **options):
        key = head, name, str(options)
        if key not in made:
            out = tmp_path_factory.mktemp('written') / name
            cfg, checkpoint = case(head)
            report = export(cfg, str(checkpoint), str(out), Options(**options))
            DefaultScope._instance_dict.clear()
            made[key] = out, report
        return made[key]

    return get


def network(case, head='MeshTokenHead'):
    cfg, checkpoint = case(head)
    model = build_runner(cfg, keep_log=False).model.eval()
    DefaultScope._instance_dict.clear()
    load_weights(model, str(checkpoint))
    return cfg, model


def assert_equal_to_pytorch(report, sizes):
    assert {row.quantity for row in report.rows} == QUANTITIES
    assert all(row.passed for row in report.rows), str(report)
    assert {row.compared for row in report.rows} == {21 * 2, 21 * 3, 778 * 3}
    assert len({row.size for row in report.rows}) == sizes


@pytest.mark.parametrize('head', HEADS)
def test_a_file_computes_what_pytorch_computes(head, written, root):
    from mmfastvit.models.hands.mano import load_hand
    out, report = written(head)
    assert_equal_to_pytorch(report, sizes=2)
    metadata = load(out).metadata
    assert metadata['task'] == 'hand_mesh' and metadata['classes'] == ['hand']
    assert metadata['outputs'] == ['uv', 'joints', 'vertices']
    assert len(metadata['palette']) == 1
    assert metadata['faces'] == load_hand(root / 'hand.safetensors').faces.tolist()


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('size', [(40, 72), (90, 61)])
def test_a_picture_s_hand(head, size, case, written, tmp_path):
    """Through the test pipeline and PyTorch, and through the file alone."""
    cfg, model = network(case, head)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    data = Compose(cfg.test_dataloader.dataset.pipeline)(dict(
        img_path=str(tmp_path / 'a.png')))
    with torch.no_grad():
        sample, = model.test_step({key: [value] for key, value in data.items()})
    found = load(written(head)[0])(picture)
    for name, tolerance in dict(uv=0.01, joints=1e-5, vertices=1e-5).items():
        np.testing.assert_allclose(found[name], sample.get(f'pred_{name}'), rtol=0,
                                   atol=tolerance)
    assert np.ptp(found['vertices'], 0).min() > 1e-3  # and are not all in one place
    assert draw(picture, found).shape == picture.shape and len(describe(found)) == 1


def test_batches_and_their_order(written):
    """Each picture gets what it gets alone."""
    model = load(written('MeshTokenHead')[0])
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8))
    together = model(pictures, batch_size=3)
    for picture, found in zip(pictures, together):
        alone = model(picture)
        for name in QUANTITIES:
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-4, atol=1e-5)
    assert np.abs(together[0]['uv'] - together[1]['uv']).max() > 0.01


@pytest.mark.parametrize('pipeline', [None, [
    dict(type='LoadImageFromFile'),
    dict(type='HandCrop', size=64, around='joints', scale=(1.25, 1.25)),
    dict(type='Resize', scale=(48, 80)), dict(type='PackHandInputs')]])
def test_the_metric_through_the_file(pipeline, case, written):
    """Also where the pipeline cuts as no file does; uv are in the file's picture."""
    cfg, checkpoint = case('MeshTokenHead')
    out, _ = written('MeshTokenHead')
    if pipeline:
        cfg.test_dataloader.dataset.pipeline = pipeline
    found = []
    for path in (checkpoint, out):
        found.append(evaluate(copy.deepcopy(cfg), str(path)))
        DefaultScope._instance_dict.clear()
    assert found[0]['freihand/PA-MPJPE'] > 1
    # Of millimetres 1e-5 m are 0.01; a vertex at the distance itself counts or not.
    assert found[1] == pytest.approx(found[0], abs=0.01)
    model = build_runner(cfg, keep_log=False).model.eval()
    load_weights(model, str(checkpoint))
    runner = build_runner(cfg, keep_log=False)
    with torch.no_grad():
        for batch in runner.test_dataloader:
            expected = [sample.pred_uv.numpy() for sample in model.test_step(
                copy.deepcopy(batch))]
            samples = ExportedPredictor(str(out), 'mmengine').test_step(batch)
            for sample, uv in zip(samples, expected, strict=True):
                np.testing.assert_allclose(sample.pred_uv, uv, rtol=0, atol=0.01)
                assert sample.pred_vertices.shape == sample.gt_vertices.shape
    DefaultScope._instance_dict.clear()


def test_a_file_is_for_its_own_task(case, written):
    out, _ = written('MeshTokenHead')
    with pytest.raises(ArgumentError, match='is for hand_mesh, the config for detect'):
        ExportedPredictor(str(out), 'mmdet')


def test_one_size(written):
    out, report = written('MeshTokenHead', size=(64, 96))
    assert_equal_to_pytorch(report, sizes=1)
    model = load(out)
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    found = model(picture)
    # By the pipeline, which keeps the ratio, and then by the file.
    resized = model(cv2.resize(cv2.resize(picture, (96, 69)), (96, 64)))
    np.testing.assert_allclose((found['uv'] + 0.5) / (70, 50),
                               (resized['uv'] + 0.5) / (96, 64), rtol=0, atol=1e-6)


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('opset', [13, 17])
def test_old_operators(head, opset, written):
    _, report = written(head, opset=opset, size=(64, 96))
    assert_equal_to_pytorch(report, sizes=1)


SIZE = 64, 96
# Formats beside ONNX, which are all made of the same graph.
OTHERS = [pytest.param(kind, head, size, marks=pytest.mark.slow if slow else (),
                       id=f'{kind}-{head}') for kind, head, size, slow in (
    ('torch', 'MeshTokenHead', None, False), ('torch', 'MANOHead', None, False),
    ('coreml', 'MeshTokenHead', SIZE, False), ('coreml', 'MANOHead', SIZE, False),
    ('ncnn', 'MeshTokenHead', SIZE, False),
    ('openvino', 'MeshTokenHead', None, True), ('openvino', 'MANOHead', None, True),
    ('executorch', 'MeshTokenHead', None, True), ('executorch', 'MANOHead', None, True),
    ('litert', 'MeshTokenHead', SIZE, True), ('litert', 'MANOHead', SIZE, True))]


@pytest.mark.parametrize('kind, head, size', OTHERS)
def test_other_formats(kind, head, size, written):
    needs(kind)
    row = FORMATS[kind]
    _, report = written(head, f'hand{row.suffix}', size=size)
    if row.open:
        assert_equal_to_pytorch(report, sizes=1 if size else 2)


@pytest.mark.parametrize('head, options, says', [
    ('MeshTokenHead', {}, 'no operators for .*arange.*Name one size'),
    ('MANOHead', dict(size=SIZE), 'no operators for .*Take another format')])
def test_what_ncnn_lacks(head, options, says, written):
    needs('ncnn')
    with pytest.raises(ArgumentError, match=says):
        written(head, 'hand.ncnn.param', **options)


def needs(kind):
    for package in FORMATS[kind].packages:
        if find_spec(package) is None:
            pytest.skip(f'there is no {package}')


@pytest.mark.parametrize('dtype', ['int8', 'float16'])
def test_fewer_bits_are_refused(dtype, case, tmp_path):
    cfg, checkpoint = case('MeshTokenHead')
    with pytest.raises(ArgumentError, match=f'quantize={dtype}: of hands, .*millimetr'):
        export(cfg, str(checkpoint), str(tmp_path / 'hand.onnx'), Options(
            quantization=Quantization(dtype)))
    DefaultScope._instance_dict.clear()
    assert not list(tmp_path.iterdir())


def with_faces(case, faces, folder):
    """Return a config and a checkpoint as MMEngine writes it, which names faces."""
    cfg, checkpoint = case('MeshTokenHead')
    del cfg.test_dataloader.dataset.hand_file
    torch.save(dict(state_dict=torch.load(checkpoint), meta=dict(dataset_meta=dict(
        classes=('hand',), palette=[(230, 180, 150)], faces=faces))),
        folder / 'meta.pth')
    return cfg, str(folder / 'meta.pth')


def test_faces_from_the_checkpoint(case, tmp_path):
    """Data need not be there; without faces, points are drawn."""
    cfg, checkpoint = with_faces(case, [[0, 1, 2], [2, 1, 777]], tmp_path)
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'none')
    report = export(cfg, checkpoint, str(tmp_path / 'hand.onnx'))
    assert_equal_to_pytorch(report, sizes=2)
    assert report.metadata['faces'] == [[0, 1, 2], [2, 1, 777]]
    assert report.metadata['palette'] == [[230, 180, 150]]
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('faces', [[[0, 1]], [[0, 1, 'a']], [[0, 1, 10**6]], 'abc'])
def test_faces_that_are_none(faces, case, tmp_path):
    cfg, checkpoint = with_faces(case, faces, tmp_path)
    with pytest.raises(ArgumentError, match='faces .*no triangles'):
        export(cfg, checkpoint, str(tmp_path / 'hand.onnx'))
    DefaultScope._instance_dict.clear()
    assert not (tmp_path / 'hand.onnx').exists()


def test_the_backbone_alone(case, tmp_path):
    cfg, checkpoint = case('MeshTokenHead')
    report = export(cfg, str(checkpoint), str(tmp_path / 'backbone.onnx'),
                    Options(backbone_only=True))
    assert report.metadata['outputs'] == ['stage2', 'stage4']
    assert all(row.passed for row in report.rows)
    assert 'faces' not in report.metadata
    DefaultScope._instance_dict.clear()


def test_other_pipelines_are_refused(case, tmp_path):
    cfg, checkpoint = case('MeshTokenHead')
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='HandCrop', size=64))
    with pytest.raises(ArgumentError, match='HandCrop.*cannot be exported'):
        export(cfg, str(checkpoint), str(tmp_path / 'hand.onnx'))
    DefaultScope._instance_dict.clear()
