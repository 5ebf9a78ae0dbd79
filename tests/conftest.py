import copy
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from mmengine.registry import DefaultScope

from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes

ROOT = Path(__file__).resolve().parents[1]
# Golden outputs and real pictures, which are not part of the project.
SHARED = Path(os.environ.get('MMFASTVIT_SHARED', ROOT.parent / 'shared'))


def pytest_configure():
    if 'PYTEST_XDIST_WORKER' in os.environ:
        # The other processes use the other cores; this, and what it starts, has one.
        torch.set_num_threads(1)
        os.environ['OMP_NUM_THREADS'] = '1'


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A tiny generated data set."""
    return generate_shapes(tmp_path_factory.mktemp('data') / 'shapes', ShapesSpec(
        num_train=6, num_val=2, image_size=64))


@pytest.fixture
def root(shapes, tmp_path):
    """A copy of the shapes, to be damaged."""
    return shutil.copytree(shapes, tmp_path / 'shapes')


def shared(*parts: str) -> Path:
    """Return a path of the shared material, or skip the test."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'needs {path}; set MMFASTVIT_SHARED to the folder with '
                    f'{parts[0]}/')
    return path


@pytest.fixture(scope='session')
def reference():
    return shared('reference')


@pytest.fixture(scope='session')
def real_coco():
    return shared('data', 'coco')


@pytest.fixture(scope='session')
def fill(reference):
    """The rule that recreates the reference's weights and pictures."""
    spec = importlib.util.spec_from_file_location('fill',
                                                  reference / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def exported(shapes, tmp_path_factory):
    """Return a function from a kind to its case, report and file, made once."""
    from helpers import shapes_case
    from mmfastvit.export import Options, export
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


@pytest.fixture
def call(monkeypatch, capsys):
    """Return mmfastvit-predict in this process, which is faster."""
    from mmfastvit_runtime import command

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['mmfastvit-predict', *map(str, args)])
        code, message = 0, ''
        try:
            command.main()
        except SystemExit as end:
            code, message = ((1, end.code) if isinstance(end.code, str) else
                             (end.code or 0, ''))
        out, err = capsys.readouterr()
        return CompletedProcess(args, code, out, err + message)

    return run
