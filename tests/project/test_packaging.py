"""The built wheel, in a folder of its own and away from the checkout."""
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import ROOT

SOURCES = ['LICENSE', 'MANIFEST.in', 'README.md', 'configs', 'mmfastvit',
           'model-index.yml', 'pyproject.toml', 'requirements', 'runtime',
           'setup.py', 'tools']
# Programs for another process; the last line printed is what is asserted.
BUILD = '''
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
import mmfastvit
cfg = Config.fromfile('mine.py')
init_default_scope(cfg.default_scope)
cfg.model.backbone.init_cfg = None
model = MODELS.build(cfg.model)
print(type(model).__name__, model.backbone.out_channels, mmfastvit.__file__)
'''
BARE = '''
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
import mmfastvit, torch
model = mmfastvit.reparameterize(mmfastvit.FastViT('t8').eval())
print(*(tuple(x.shape) for x in model(torch.zeros(1, 3, 64, 64))))
'''


def run(*command, cwd, path=None):
    environment = {**os.environ, 'OMP_NUM_THREADS': '2'}
    environment.pop('PYTHONPATH', None)
    if path is not None:
        environment['PYTHONPATH'] = str(path)
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd,
                            timeout=300, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env=environment)
    assert result.returncode == 0, result.stdout
    return result.stdout.strip().splitlines()


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Return a folder with the wheel of the source distribution installed."""
    folder = tmp_path_factory.mktemp('packaging')
    source = folder / 'source'
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        options = dict(symlinks=True) if (ROOT / name).is_dir() else {}
        copy(ROOT / name, source / name, **options)
    run('-c', 'from setuptools import build_meta; build_meta.build_sdist("..")',
        cwd=source)
    sdist, = folder.glob('*.tar.gz')
    shutil.rmtree(source)  # nothing may lean on it
    pip = ['-m', 'pip', '-q', '--disable-pip-version-check']
    run(*pip, 'wheel', '--no-deps', '--no-build-isolation', sdist, cwd=folder)
    wheel, = folder.glob('*.whl')
    run(*pip, 'install', '--no-deps', '--no-index', '--target',
        folder / 'installed', wheel, cwd=folder)
    return folder / 'installed'


def test_every_config_and_tool_is_there(installed):
    mim = installed / 'mmfastvit' / '.mim'
    assert files(mim / 'configs' / 'fastvit') == files(ROOT / 'configs')
    # The one that is left out makes a checkout's environment.
    assert files(mim / 'tools') == files(ROOT / 'tools') - {'make_environment.py'}
    assert files(mim) >= {'model-index.yml', 'configs/fastvit/metafile.yml'}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*')
            if path.suffix in ('.py', '.yml')}


@pytest.mark.parametrize('config, change, model, channels', [
    ('retinanet_fastvit_t8_coco', 'bbox_head=dict(num_classes=3)', 'RetinaNet',
     '(96, 192, 384)'),
    ('fpn_fastvit_t8_ade20k', 'decode_head=dict(num_classes=3)',
     'EncoderDecoder', '(48, 96, 192, 384)'),
    ('fastvit_t8_in1k', 'head=dict(num_classes=3)', 'ImageClassifier', '(384,)'),
], ids=['detector', 'segmentor', 'classifier'])
def test_inheritance(installed, tmp_path, config, change, model, channels):
    (tmp_path / 'mine.py').write_text(
        f"_base_ = 'mmfastvit::fastvit/{config}.py'\nmodel = dict({change})\n")
    line = run('-c', BUILD, cwd=tmp_path, path=installed)[-1]
    assert line == f'{model} {channels} {installed}/mmfastvit/__init__.py'


def test_other_packages_keep_their_scope(installed, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    program = ('import mmfastvit; from mmengine.config import Config; '
               'print(Config.fromfile("mine.py").model._scope_)')
    assert run('-c', program, cwd=tmp_path, path=installed)[-1] == 'mmdet'


def test_the_hub_finds_configs(installed, tmp_path):
    program = ('import mmfastvit; from mmengine.hub import get_config; print('
               'get_config("mmfastvit::fastvit/maskrcnn_fastvit_sa24_coco.py")'
               '.model.backbone.arch)')
    assert run('-c', program, cwd=tmp_path, path=installed)[-1] == 'sa24'


def test_the_runtime_comes_along(installed, tmp_path):
    """It imports nothing of the project, and has a command."""
    program = ('import sys; sys.modules.update(dict.fromkeys(("torch", "mmengine", '
               '"mmfastvit"))); from mmfastvit_runtime import command; '
               'print(command.__file__)')
    assert run('-c', program, cwd=tmp_path, path=installed)[-1] \
        == f'{installed}/mmfastvit_runtime/command.py'
    scripts, = installed.glob('mmfastvit-*.dist-info/entry_points.txt')
    assert 'mmfastvit-predict = mmfastvit_runtime.command:main' in scripts.read_text()


def test_the_runtime_alone(tmp_path):
    """Its own wheel holds the same files, and asks for no PyTorch."""
    shutil.copytree(ROOT / 'runtime', tmp_path / 'runtime')
    run('-m', 'pip', '-q', '--disable-pip-version-check', 'wheel', '--no-deps',
        '--no-build-isolation', tmp_path / 'runtime', cwd=tmp_path)
    wheel, = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.endswith('.py')}
        metadata = next(archive.read(name).decode() for name in archive.namelist()
                        if name.endswith('METADATA'))
    assert names == {str(path.relative_to(ROOT / 'runtime')) for path in
                     (ROOT / 'runtime' / 'mmfastvit_runtime').rglob('*.py')}
    needed = [line for line in metadata.splitlines()
              if line.startswith('Requires-Dist') and 'extra' not in line]
    assert any('numpy' in line for line in needed)
    assert not any('torch' in line for line in needed)


def test_without_the_toolboxes(installed, tmp_path):
    assert run('-c', BARE, cwd=tmp_path, path=installed)[-1] \
        == '(1, 48, 16, 16) (1, 96, 8, 8) (1, 192, 4, 4) (1, 384, 2, 2)'


@pytest.mark.slow
def test_tools_train_from_an_inherited_config(installed, tmp_path):
    tools = installed / 'mmfastvit' / '.mim' / 'tools'
    run(tools / 'generate_shapes.py', '--num-train', 2, '--num-val', 1,
        '--image-size', 64, cwd=tmp_path, path=installed)
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'mine.py').write_text(
        "_base_ = 'mmfastvit::fastvit/fpn_fastvit_sa12_shapes.py'\n"
        'train_cfg = dict(max_iters=1, val_interval=1)\n')
    run(tools / 'train.py', 'configs/mine.py', '--cfg-options',
        *(f'{split}_dataloader.{setting}' for split in ('train', 'val')
          for setting in ('batch_size=2', 'num_workers=0',
                          'persistent_workers=False')),
        cwd=tmp_path, path=installed)
    assert (tmp_path / 'work_dirs' / 'mine' / 'iter_1.pth').exists()
