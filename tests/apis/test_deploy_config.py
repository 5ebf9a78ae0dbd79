"""A deploy config builds what its checkpoint holds, whatever names its networks."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from helpers import shapes_case
from mmfastvit import ArgumentError, FastViT, FastViTNeck
from mmfastvit.apis import deploy
from mmfastvit.apis.deploy_config import deploy_config
from mmfastvit.apis.visualize import draw_predictions
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.config import load_config


@MODELS.register_module()
class MyFastViT(FastViT):
    """A user's own."""


@MODELS.register_module()
class HiddenFastViT(nn.Module):
    """What no config can tell to build a deploy form."""

    def __init__(self):
        super().__init__()
        self.net = FastViT('t8', out_indices=(3,), out_norm_cfg=None)

    def forward(self, x):
        return self.net(x)


@pytest.fixture(autouse=True)
def _scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('kind', [
    'FastViT', 'mmengine.FastViT', 'MyFastViT', FastViT, MyFastViT,
    'mmfastvit.FastViT', 'mmfastvit.models.fastvit.backbone.FastViT'], ids=str)
def test_spellings_and_depths(kind):
    backbone = dict(type=kind, init_cfg=dict(type='Pretrained', checkpoint='x'))
    other = dict(type='ResNet', init_cfg=dict(type='Pretrained', checkpoint='y'))
    found = deploy_config(Config(dict(default_scope='mmdet', model=dict(
        type='Outer', parts=[dict(type='Inner', backbone=backbone), other],
        detector=dict(neck=dict(type='FastViTNeck', in_channels=8),
                      backbone=backbone))))).model
    for node in (found.parts[0].backbone, found.detector.backbone):
        assert (node.deploy, node.init_cfg) == (True, None)
        with MODELS.switch_scope_and_registry('mmdet') as registry:
            assert isinstance(registry.build(dict(node, arch='t8')), FastViT)
    assert found.detector.neck.deploy
    assert found.parts[1] == other


def test_what_is_no_text_is_refused():
    cfg = Config(dict(model=dict(type='FastViT', scale=lambda x: x)))
    with pytest.raises(ArgumentError, match='model.scale in the config is <function'):
        deploy_config(cfg)


def test_a_config_of_classes(shapes, tmp_path):
    """From the config to the pair, and to pictures of both."""
    cfg, checkpoint = shapes_case('classifier', shapes, tmp_path)
    text = cfg.pretty_text.replace("type='FastViT'", 'type=FastViT').replace(
        "type='FastViTNeck'", 'type=FastViTNeck').replace(
        "type='LoadImageFromFile'", 'type=LoadImageFromFile')
    (tmp_path / 'classes.py').write_text(
        'from mmfastvit import FastViT, FastViTNeck\n'
        'from mmcv.transforms import LoadImageFromFile\n' + text)
    cfg = load_config(tmp_path / 'classes.py', work_dir=tmp_path / 'work')
    assert cfg.model.backbone['type'] is FastViT
    assert cfg.model.neck['type'] is FastViTNeck
    deploy.reparameterize_checkpoint(copy.deepcopy(cfg), checkpoint,
                                     tmp_path / 'deploy.pth', num_pictures=1)
    twin = load_config(tmp_path / 'deploy.py', work_dir=tmp_path / 'work')
    assert twin.model.backbone.deploy and twin.model.neck.deploy
    for one, weights in ((cfg, checkpoint), (twin, tmp_path / 'deploy.pth')):
        files = draw_predictions(one, weights, tmp_path / weights.stem,
                                 shapes / 'val' / '000001.png', features=True)
        assert all(path.exists() for path in files) and len(files) == 2


@pytest.mark.slow
def test_a_detector_inside_another(shapes, tmp_path):
    cfg, checkpoint = shapes_case('retinanet', shapes, tmp_path)
    detector = cfg.model.to_dict()
    cfg._cfg_dict.model = dict(
        type='SemiBaseDetector', detector=detector, semi_train_cfg=dict(),
        semi_test_cfg=dict(predict_on='student', extract_feat_on='student'),
        data_preprocessor=dict(type='MultiBranchDataPreprocessor',
                               data_preprocessor=detector['data_preprocessor']))
    weights = torch.load(checkpoint, weights_only=True)
    torch.save({f'{part}.{name}': value for name, value in weights.items()
                for part in ('student', 'teacher')}, tmp_path / 'both.pth')
    deploy.reparameterize_checkpoint(cfg, tmp_path / 'both.pth',
                                     tmp_path / 'deploy.pth', num_pictures=1)
    twin = load_config(tmp_path / 'deploy.py')
    assert twin.model.detector.backbone.deploy
    model = deploy.build_runner(twin).model
    assert model.student.backbone.deploy and model.teacher.backbone.deploy
    load_weights(model, tmp_path / 'deploy.pth')


def test_a_pair_that_does_not_fit_is_not_kept(shapes, tmp_path):
    cfg, _ = shapes_case('classifier', shapes, tmp_path)
    cfg._cfg_dict.model.backbone = dict(type='HiddenFastViT')
    model = deploy.build_runner(copy.deepcopy(cfg)).model
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    with pytest.raises(ArgumentError, match='was not written: the config'):
        deploy.reparameterize_checkpoint(cfg, tmp_path / 'model.pth',
                                         tmp_path / 'deploy.pth', num_pictures=1)
    assert {path.name for path in tmp_path.iterdir()} == {'model.pth', 'work'}
