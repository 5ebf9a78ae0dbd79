"""Files for phones and boards: the network alone, completed by the runtime."""
import copy
import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from tiny_detectors import CASES, Graph, tiny_detector

from helpers import shapes_case
from mmfastvit import ArgumentError
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.runner import build_runner
from mmfastvit.export import Options, export
from mmfastvit.export.formats import FORMATS, format_of
from mmfastvit.export.models import exportable
from mmfastvit.export.network import Network
from mmfastvit.export.preparation import SIDES
from mmfastvit.export.verification import verify
from mmfastvit_runtime import PredictionError, load
from mmfastvit_runtime.engines import ENGINES, WholeModel
from mmfastvit_runtime.heads import are_heads, select
from mmfastvit_runtime.model import ExportedModel

pytestmark = [pytest.mark.xdist_group('mobile'), pytest.mark.skipif(
    torch.__version__ < '2.6', reason='the exporter needs a newer torch')]
MOBILE = [pytest.param(row.name, marks=() if row.name == 'ncnn' else pytest.mark.slow)
          for row in FORMATS.values() if row.is_mobile]
DENSE = 'retinanet', 'fcos', 'atss', 'gfl', 'yolox', 'rtmdet'
SIZES = (128, 160), (192, 96)


def sizes_of(kind):
    """Return sizes of pictures that a format's file is tried with."""
    return SIZES[:1] if FORMATS[kind].is_static else SIZES


def case(name):
    _, model = tiny_detector(name)
    DefaultScope._instance_dict.clear()
    _, module = exportable(model, shared=False)
    network = Network(copy.deepcopy(module))
    return model, network, dict(
        task='detection', outputs=module.outputs, classes=list('abcde'),
        palette=[[0, 0, 0]] * 5, size=None, batch=1, resize=[],
        pad_divisor=module.preprocess.divisor, network=network.settings,
        **module.settings)


def pictures(sizes=SIZES):
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]


@pytest.mark.parametrize('name', [*DENSE, 'deformabledetr', 'twostagedetr', 'dino'])
def test_the_network_completed_by_numpy_equals_the_toolbox(name):
    model, network, metadata = case(name)
    exported = ExportedModel(WholeModel(Graph(network, metadata)))
    rows = verify(model, exported, pictures())
    assert all(row.passed for row in rows), rows
    assert {row.size for row in rows} == set(SIZES)
    assert all(row.compared >= 5 for row in rows), rows


@pytest.mark.parametrize('name', [name for name in CASES if name not in DENSE
                                  and name not in ('deformabledetr', 'twostagedetr',
                                                   'dino')])
def test_sizes_that_depend_on_the_picture_are_refused(name):
    with pytest.raises(ArgumentError, match='phones and boards'):
        case(name)


def needs(kind):
    """Skip a test of a format whose package is missing."""
    for package in FORMATS[kind].packages:
        pytest.importorskip(package)


@pytest.fixture(scope='module')
def written(shapes, tmp_path_factory):
    """Return a function from a task and a format to a file of it, made once."""
    made = {}

    def get(task, kind):
        needs(kind)
        if (task, kind) not in made:
            folder = tmp_path_factory.mktemp(f'{task}-{kind}')
            case = 'classifier' if task == 'backbone' else task
            cfg, checkpoint = shapes_case(case, shapes, folder)
            out = folder / f'model{FORMATS[kind].suffix}'
            report = export(cfg, str(checkpoint), str(out), Options(
                size=(61, 75) if FORMATS[kind].is_static else None,
                backbone_only=task == 'backbone'))
            DefaultScope._instance_dict.clear()
            made[task, kind] = out, report
        return made[task, kind]

    return get


@pytest.mark.parametrize('kind', MOBILE)
@pytest.mark.parametrize('task', ['classifier', 'backbone', 'fpn', 'retinanet'])
def test_files_compute_what_pytorch_computes(task, kind, written):
    out, report = written(task, kind)
    assert all(row.passed for row in report.rows), str(report)
    assert any(row.compared for row in report.rows), str(report)
    assert len({row.size for row in report.rows}) == len(sizes_of(kind))
    assert report.size == sum(path.stat().st_size for path in out.parent.iterdir()
                              if path.name.startswith('model.') and
                              not path.name.endswith(f'{out.suffix}.json')
                              and path.suffix != '.pth')


@pytest.mark.parametrize('name', ['rtmdet', 'fcos'])
@pytest.mark.parametrize('kind', MOBILE)
def test_detectors_of_mmdetection(name, kind, tmp_path):
    needs(kind)
    model, network, metadata = case(name)
    out = tmp_path / f'model{FORMATS[kind].suffix}'
    size = (256, 256)
    if FORMATS[kind].is_bounded:
        metadata['sides'] = SIDES
    elif FORMATS[kind].is_static:
        metadata['size'] = size = SIZES[0]
    FORMATS[kind].write(network, torch.zeros(1, 3, *size), out, metadata)
    rows = verify(model, ExportedModel(FORMATS[kind].open(out)),
                  pictures(sizes_of(kind)))
    assert all(row.passed and row.compared >= 5 for row in rows), rows


@pytest.mark.parametrize('kind', [row for row in MOBILE
                                  if not FORMATS[row.values[0]].is_static])
def test_what_a_margin_of_colour_does(kind, written, shapes, tmp_path):
    """RetinaNet pads to multiples of 32; odd sizes equal the toolbox's."""
    out, report = written('retinanet', kind)
    assert report.metadata['pad_divisor'] == 32
    cfg, checkpoint = shapes_case('retinanet', shapes, tmp_path)
    model = build_runner(cfg, keep_log=False).model.eval()
    load_weights(model, str(checkpoint))
    DefaultScope._instance_dict.clear()
    rows = verify(model, ExportedModel(FORMATS[kind].open(out)),
                  pictures([(61, 75), (99, 130)]))
    assert all(row.passed and row.compared for row in rows), rows


@pytest.mark.parametrize('kind', MOBILE)
def test_pictures_are_drawn(kind, written, tmp_path, monkeypatch, capsys):
    from mmfastvit_runtime import command
    out, _ = written('retinanet', kind)
    pytest.importorskip(ENGINES[out.suffix][1])
    picture = np.random.RandomState(0).randint(0, 256, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'photo.png'), picture)
    monkeypatch.setattr('sys.argv', [
        'mmfastvit-predict', str(out), str(tmp_path / 'photo.png'), '--out',
        str(tmp_path / 'drawn.png'), '--score-threshold', '0'])
    command.main()
    assert cv2.imread(str(tmp_path / 'drawn.png')).shape == picture.shape
    assert capsys.readouterr().out


def test_damaged_files_of_ncnn(written, tmp_path):
    out, _ = written('classifier', 'ncnn')
    parts = [out, out.with_suffix('.bin'), out.with_suffix('.json')]
    for part in parts[1:]:
        copy_to(parts, tmp_path)
        (tmp_path / part.name).unlink()
        with pytest.raises(PredictionError, match=f'needs .*{part.name}'):
            load(str(tmp_path / out.name))
    for part in parts[:2]:
        copy_to(parts, tmp_path)
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / part.name).write_bytes(content)
        with pytest.raises(PredictionError, match='damaged'):
            load(str(tmp_path / out.name))
    for content in ('', '[]', '{"mmfastvit": {}}', '{"mmfastvit": {}, "sha256": 3}',
                    '[' * 100_000):
        copy_to(parts, tmp_path)
        (tmp_path / parts[2].name).write_text(content)
        with pytest.raises(PredictionError, match='no metadata of'):
            load(str(tmp_path / out.name))


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['executorch', 'litert'])
def test_damaged_files_of_one_part(kind, written, tmp_path):
    """ExecuTorch's own reader would run whatever they hold."""
    out, _ = written('classifier', kind)
    content = out.read_bytes()
    for damaged, says in ((content[:len(content) // 2], 'holds no metadata'),
                          (b'', 'holds no metadata'),
                          (b'x' + content[1:], 'its program is not the one')):
        (tmp_path / out.name).write_bytes(damaged)
        with pytest.raises(PredictionError, match=says):
            FORMATS[kind].open(tmp_path / out.name)


@pytest.mark.slow
@pytest.mark.parametrize('kind, says', [
    ('executorch', 'multiples of 32 from 64 to 1344'),
    ('litert', 'takes arrays of .1, 3, ')])
def test_sizes_that_a_file_was_not_made_for(kind, says, written):
    model = ExportedModel(FORMATS[kind].open(written('classifier', kind)[0]))
    with pytest.raises(PredictionError, match=says):
        model.run(np.zeros((1, 3, 64, 70), np.uint8))
    if kind == 'litert':  # to its size, the runtime resizes
        assert model(np.zeros((64, 96, 3), np.uint8))['scores'].size > 1


def copy_to(parts, folder):
    for part in parts:
        shutil.copy(part, folder)


def test_what_a_converter_does_not_say_is_noticed(tmp_path, monkeypatch):
    """pnnx ends without a file, and with operators that ncnn lacks."""
    needs('ncnn')
    import pnnx
    _, network, metadata = case('rtmdet')
    example = torch.zeros(1, 3, 64, 64)
    monkeypatch.setattr(pnnx, 'EXEC_PATH', '/bin/true')
    with pytest.raises(ArgumentError, match='wrote no file'):
        FORMATS['ncnn'].write(network, example, tmp_path / 'm.ncnn.param', metadata)
    monkeypatch.undo()

    class Odd(torch.nn.Module):
        outputs = ['scores']

        def forward(self, x):
            return torch.cumprod(x.long(), 1),

    with pytest.raises(ArgumentError, match='no operators for'):
        FORMATS['ncnn'].write(Odd(), example, tmp_path / 'm.ncnn.param', metadata)
    assert not list(tmp_path.iterdir())


def test_names_of_files():
    needs('ncnn')
    assert format_of('a/model.ncnn.param').name == 'ncnn'
    with pytest.raises(ArgumentError, match=r'\.ncnn\.param \(ncnn\)'):
        format_of('model.param')


def test_metadata_of_heads():
    """Wild ones are refused before anything is computed with them."""
    _, network, _ = case('gfl')
    heads = json.loads(json.dumps(network.settings['heads']))
    outputs = len(network.outputs)
    assert are_heads(heads, outputs)
    for name, value in dict(
            strides=[[0, 8]] * 5, priors=[[[0, 0, 1]]] * 5, activation='relu',
            numbers='deltas', bins=[float('nan')], nms_pre=-1, factor='after',
            score_threshold='high', clip=1, max_detections=10**9, extra=0).items():
        assert not are_heads({**heads, name: value}, outputs), name
    assert not are_heads({key: heads[key] for key in list(heads)[1:]}, outputs)
    assert not are_heads(heads, outputs + 1)


def test_no_objects():
    _, network, _ = case('fcos')
    levels = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]
    maps = [np.full((2, channels, *level), -100, np.float32)
            for channels in (5, 4, 1) for level in levels]
    found = select(maps, network.settings['heads'], (128, 160))
    assert found['count'].tolist() == [0, 0] and found['boxes'].shape == (2, 0, 4)
