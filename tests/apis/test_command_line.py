"""Command lines: what they import, and what a mistake ends in."""
import argparse
import errno
import os
import re
import runpy
import signal
import subprocess
import sys

import pytest
import torch
from mmengine.registry import DefaultScope

from conftest import ROOT
from mmfastvit.apis.explain import explain
from mmfastvit.benchmark import contestants
from mmfastvit.datasets.hands import HandsSpec
from mmfastvit.datasets.shapes import ShapesSpec
from mmfastvit.engine.config import load_config
from mmfastvit.export.formats import FORMATS
from mmfastvit.export.formats.onnx import OPSET
from mmfastvit.models.fastvit import VARIANTS
from mmfastvit.utils.errors import ArgumentError

TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('[!_]*.py')
               if path.stem not in ('make_environment', 'predict'))
CLASSIFIER = ROOT / 'configs' / 'fastvit_sa12_shapes.py'
ASCII = {**os.environ, 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONIOENCODING': 'ascii'}


@pytest.fixture
def shared(monkeypatch):
    """What the tools share."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import _command_line
    return _command_line


@pytest.fixture
def call(shared, monkeypatch, capsys, tmp_path):
    """Return a function that calls a tool in this process: exit code and text."""
    monkeypatch.chdir(tmp_path)

    def tool(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        code = None
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')
        except SystemExit as error:
            code = error.code
        finally:
            DefaultScope._instance_dict.clear()
        text = capsys.readouterr()
        if isinstance(code, str):  # which Python prints before it ends with 1
            return 1, f'{text.out}{text.err}{code}'
        return code or 0, text.out + text.err

    return tool


def script(code, **options):
    """Run a program that knows what the tools share, without PyTorch."""
    return subprocess.run(
        [sys.executable, '-c', f'from _command_line import run\n{code}'], text=True,
        stderr=subprocess.PIPE, timeout=60,
        **{'env': {**ASCII, 'PYTHONPATH': str(ROOT / 'tools')}, **options})


def test_help_imports_nothing_slow_and_prints_on_any_terminal():
    needed = {
        'benchmark': [*VARIANTS, *contestants.MODES, *contestants.DTYPES,
                      *contestants.FORMS, *contestants.MEMORY_FORMATS],
        'summary': [*VARIANTS],
        'export': [*FORMATS, *(row.suffix for row in FORMATS.values()), OPSET],
        'generate_shapes': [*vars(ShapesSpec()).values()],
        'generate_hands': [*vars(HandsSpec()).values()]}
    for tool in TOOLS:
        done = subprocess.run(
            [sys.executable, '-X', 'importtime', ROOT / 'tools' / f'{tool}.py',
             '--help'], env=ASCII, text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, (tool, done.stderr[-500:])
        assert '--traceback' in done.stdout
        imported = set(re.findall(r'\| +([\w.]+)$', done.stderr, re.M))
        assert 'argparse' in imported
        assert not imported & {'torch', 'mmengine', 'numpy', 'mmfastvit'}, tool
        # Lists of what is allowed are kept elsewhere, and checked there.
        said = re.sub(r'-\n +', '-', done.stdout)  # argparse breaks lines there
        for word in needed.get(tool, []):
            assert re.search(rf'(?<![\w.]){re.escape(str(word))}(?!\w)', said), \
                (tool, word)


@pytest.mark.parametrize('text, name, message', [
    ('model = dict(\n', 'a.py', 'line 1'),
    ('a = 1\nb = c\n', 'a.py', r"a\.py, line 2, .*NameError: name 'c'"),
    ("_base_ = 'nowhere.py'\n", 'a.py', r'nowhere\.py'),
    ("_base_ = 'b.py'\n", 'a.py', r'b\.py, line 2, .*ZeroDivisionError'),
    ('[1]', 'a.json', r'a\.json cannot be read as a config'),
    ('{"a": 1}', 'a.json', r'a\.json describes no model'),
    ('a: 1', 'a.yaml', r'a\.yaml describes no model'),
    ('text', 'a.txt', r'a\.txt cannot be read as a config'),
])
def test_configs_that_are_none(call, tmp_path, text, name, message):
    (tmp_path / 'b.py').write_text('\na = 1 / 0\n')
    (tmp_path / name).write_text(text)
    code, output = call('train', name)
    assert code == 1 and re.search(message, output), output
    assert 'Traceback' not in output
    code, output = call('train', name, '--traceback')
    assert code == 1 and re.search(message, output), output
    assert 'Traceback' in output


@pytest.mark.parametrize('option, code, message', [
    ('model', 2, 'model: give KEY=VALUE'),
    ('=1', 2, '=1: give KEY=VALUE'),
    ('model.a=(1,2', 1, 'Close each bracket'),
    ('model.backbone.arch.x=1', 1, "model.backbone.arch is 'sa12' in the config"),
    ('train_dataloader.dataset.pipeline.x=1', 1, 'pipeline is a list of 4 in the'),
    ('train_dataloader.dataset.pipeline.9.scale=1', 1, 'pipeline is a list of 4 in'),
    ('model.backbone.archh=t8', 1, "FastViT takes no 'archh'. Did you mean arch? In "
     'the config it is model.backbone. It takes arch, in_channels,'),
    ('model.head.num_class=3', 1, "LinearClsHead takes no 'num_class'. Did you mean "
     'num_classes? In the config it is model.head.'),
    ('model.backbone.arch=t8', 1, 'model.backbone gives maps of [384] channels, '
     'model.neck takes 512: write model.neck.in_channels=384 '),
    ('model.backbone.type=FastVit', 1, "type='FastVit' is unknown: there is no such "
     'model. Did you mean FastViT'),
    ('randomness.seed=-1', 1, 'The seed is out of range'),
])
def test_options_that_do_not_fit(call, shapes, option, code, message):
    found, output = call(
        'browse_dataset', CLASSIFIER, '--out', 'out', '--cfg-options',
        f'train_dataloader.dataset.data_root={shapes}/crops', option)
    assert found == code and message in output, output
    assert 'Traceback' not in output


@pytest.mark.parametrize('before', ['', 'init_cfg=None', 'init_cfg=dict(x=1)'])
def test_weights_by_one_option(before, tmp_path):
    (tmp_path / 'a.py').write_text(f'model = dict(backbone=dict({before}))')
    options = {'model.backbone.init_cfg.checkpoint': 'a.pth',
               'model.backbone.init_cfg.prefix': 'backbone.'}
    found = load_config(tmp_path / 'a.py', options).model.backbone.init_cfg
    assert found.pop('x', 1) == 1
    assert found == dict(type='Pretrained', checkpoint='a.pth', prefix='backbone.')


@pytest.mark.parametrize('kind, part, several', [
    ('FPN', 'neck', False), ('FPN', 'neck', True), ('ChannelMapper', 'neck', False),
    ('Mask2FormerHead', 'panoptic_head', False)])
def test_necks_take_what_the_backbone_gives(kind, part, several):
    from mmengine.config import Config

    from mmfastvit.engine.channels import check_channels
    neck = dict(type=kind, in_channels=[48, 96, 192, 384])
    detector = {'backbone': dict(type='mmengine.FastViT', arch='t8'),
                part: [neck, dict(type='Other')] if several else neck}
    check_channels(Config(dict(model=dict(detector=detector))))
    key = f'model.detector.{part}' + '.0' * several
    for wrong in ([64, 128, 256, 512], [96, 192, 384]):
        neck['in_channels'] = wrong
        with pytest.raises(ArgumentError) as caught:
            check_channels(Config(dict(model=dict(detector=detector))))
        assert f'{key}.in_channels=[48,96,192,384]' in str(caught.value)
    neck.update(type='MineOfThree')  # which may leave one out
    check_channels(Config(dict(model=dict(detector=detector))))


def test_sizes_mean_one_thing(call):
    code, output = call('summary', 't8', '--size', '256', '512')
    assert code == 2 and '800x1344' in output
    code, output = call('generate_shapes', 'shapes', '--seed', '-1')
    assert code == 1 and 'seed=-1: give 0 to 4294967295' in output


def test_choices_are_checked_where_they_are_known(call):
    for option, allowed in (('mode', contestants.MODES), ('form', contestants.FORMS),
                            ('dtype', contestants.DTYPES),
                            ('memory-format', contestants.MEMORY_FORMATS)):
        code, output = call('benchmark', 't8', f'--{option}', 'odd')
        assert code == 1 and ', '.join(allowed) in output
    code, output = call('export', CLASSIFIER, 'x.pth', '--out', 'x.onnx', '--format',
                        'odd')
    assert code == 1 and 'onnx, openvino, torch, coreml' in output


def test_nothing_is_measured_that_cannot_be_written(call, tmp_path):
    (tmp_path / 'file').touch()
    code, output = call('benchmark', 't8', '--out', 'file/found')
    assert code == 1 and 'file is no folder that you may write to' in output
    config = tmp_path / 'mine.json'
    config.write_text('{}')
    code, output = call('benchmark', 'mine.json', '--out', 'mine')
    assert code == 1 and 'is the source' in output


def full_disk():
    with open('/dev/full', 'w') as file:
        file.write('x')


def full_disk_for_weights():
    with open('/dev/full', 'wb') as file:
        torch.save(torch.ones(9), file)


def no_memory():
    torch.empty(2**55)


def no_folder():
    open('nowhere/file.txt')


def no_package():
    import nowhere.there  # noqa: F401


def wrong_channels():
    torch.nn.Conv2d(96, 1, 1)(torch.ones(1, 64, 2, 2))


@pytest.mark.parametrize('mistake, message', [
    (full_disk, 'The disk is full'), (full_disk_for_weights, 'The disk is full'),
    (no_memory, 'There is not enough memory'),
    (no_folder, 'nowhere/file.txt: No such file or directory.'),
    (no_package, "'nowhere' is not installed"),
    (wrong_channels, 'takes 96 channels, and gets 64'),
])
def test_what_libraries_say(mistake, message, tmp_path, monkeypatch):
    if 'full' in mistake.__name__ and not os.path.exists('/dev/full'):
        pytest.skip('the system has no full disk to offer')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught:
        mistake()
    assert message in explain(caught.value)
    assert explain(PermissionError(errno.EACCES, 'Permission denied', 'a.pth')
                   ).startswith('a.pth: Permission denied. Take a place')


def test_a_worker_s_error_is_told_without_its_frames():
    class Refuses(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise ArgumentError('picture 7 is odd: mend it.')

    with pytest.raises(ArgumentError) as caught:
        list(torch.utils.data.DataLoader(Refuses(), num_workers=1))
    assert 'Original Traceback' in str(caught.value)
    assert explain(caught.value) == 'picture 7 is odd: mend it.'


def test_what_nobody_can_mend_keeps_its_frames(shared, capsys):
    def main():
        try:
            open('nowhere')
        except OSError:
            dict().nothing()

    with pytest.raises(SystemExit) as caught:
        shared.run(main)
    assert 'in main' in capsys.readouterr().err
    assert 'report it to whoever maintains' in caught.value.code
    # A wrong call of the program's own is no mistake in a config.
    with pytest.raises(TypeError) as error:
        shared.positive(sides=1)
    assert explain(error.value) is None


def test_ctrl_c_ends_in_one_line(shared, capsys):
    # Shells let what runs in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(SystemExit) as caught:
        shared.run(lambda: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, before)
    assert caught.value.code == 130
    assert capsys.readouterr().err.strip().count('\n') == 0


@pytest.mark.skipif(os.name != 'posix', reason='pipes of Unix')
def test_readers_that_leave_and_terminals_without_characters():
    end, start = os.pipe()
    os.close(end)
    done = script('run(lambda: print("x" * 100000))', stdout=start)
    os.close(start)
    assert (done.returncode, done.stderr) == (141, '')
    done = script(r'run(lambda: print("gr\xf6\xdfe \u2026"))', stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, r'gr\xf6\xdfe \u2026' + '\n')


def test_mpi_ranks_know_their_place_on_the_machine(shared, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is put back afterwards
    monkeypatch.delenv('LOCAL_RANK')
    monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', '1')
    parser = argparse.ArgumentParser()
    shared.add_config_arguments(parser)
    shared.add_launcher_arguments(parser)
    shared.config_from(parser.parse_args([str(CLASSIFIER), '--launcher', 'mpi']))
    assert os.environ['LOCAL_RANK'] == '1'
