"""The tools as a user calls them: a short life, and mistakes."""
import pytest
import torch

from conftest import ROOT
from helpers import SMALL, call
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes

CONFIG = ROOT / 'configs' / 'maskrcnn_fastvit_sa12_shapes.py'
COCO = ROOT / 'configs' / 'maskrcnn_fastvit_sa12_coco.py'


def data_options(root):
    """Return options that let a COCO config read generated pictures."""
    options = []
    for split, folder in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = f'{split}_dataloader.dataset'
        options += [
            f'{dataset}.data_root={root}/',
            f'{dataset}.ann_file=annotations/instances_{folder}.json',
            f'{dataset}.data_prefix.img={folder}/',
            f'{dataset}.metainfo.classes=(circle,square,triangle)']
    return options + [f'{split}_evaluator.ann_file={root}/annotations/'
                      'instances_val.json' for split in ('val', 'test')]


def test_train_resume_test_visualize_reparameterize(tmp_path):
    data = generate_shapes(tmp_path / 'shapes', ShapesSpec(
        num_train=4, num_val=2, image_size=128))
    work = tmp_path / 'work'
    common = [CONFIG, '--work-dir', work, '--cfg-options', *SMALL,
              *data_options(data), 'model.backbone.arch=t8',
              'model.neck.in_channels=[48,96,192,384]']
    result = call('train', *common, 'train_cfg.max_epochs=1', cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert (work / 'epoch_1.pth').exists()
    result = call('train', *common, 'train_cfg.max_epochs=2', '--resume',
                  cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert 'resumed epoch: 1' in result.stdout
    assert 'Epoch(train) [1]' not in result.stdout
    assert 'coco/bbox_mAP_50' in result.stdout
    result = call('test', CONFIG, work, *common[1:], cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert 'coco/segm_mAP_50' in result.stdout
    result = call('visualize', CONFIG, work, '--out', tmp_path / 'pictures',
                  *common[1:], cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 2
    deploy = tmp_path / 'deploy.pth'
    result = call('reparameterize', CONFIG, work, deploy, *common[1:],
                  cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    weights = torch.load(deploy, weights_only=True)['state_dict']
    assert any(k.startswith('backbone.') and '.fused.' in k for k in weights)
    result = call('test', tmp_path / 'deploy.py', deploy, cwd=tmp_path)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize('arguments, message', [
    (['nowhere.py'], 'There is no config nowhere.py'),
    ([CONFIG, '--cfg-options', 'train_dataloader.dataset.data_root=/nowhere/'],
     '/nowhere/annotations/instances_train.json  MISSING'),
    ([CONFIG, '--cfg-options', 'model.backbone.arch=sa13'],
     "arch='sa13' is unknown"),
    ([COCO, '--cfg-options', 'model.backbone.init_cfg.checkpoint=nowhere.pth',
      'check_data=False', *data_options('data/shapes')],
     'there is no checkpoint file nowhere.pth'),
])
def test_mistakes_end_in_one_paragraph(tmp_path, arguments, message):
    data = generate_shapes(tmp_path / 'data' / 'shapes', ShapesSpec(
        num_train=2, num_val=1, image_size=64))
    assert data.exists()
    result = call('train', *arguments, '--work-dir', tmp_path / 'work',
                  cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stdout
    assert 'Traceback' not in result.stdout
    assert not list(tmp_path.glob('**/*.pth'))
