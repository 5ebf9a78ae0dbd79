"""Pictures normalised otherwise than the weights' own: said once, with the line."""
import pytest
from mmengine.config import Config

from conftest import ROOT
from helpers import config_of
from mmfastvit.engine.preprocessing import check_preprocessing


@pytest.fixture
def said(monkeypatch):
    """What is logged, as a list of lines."""
    lines = []
    monkeypatch.setattr('mmfastvit.engine.preprocessing.print_log',
                        lambda text, *_: lines.append(text))
    return lines


CONFIGS = sorted(p.name for p in (ROOT / 'configs').glob('*.py'))


@pytest.mark.parametrize('name', CONFIGS)
def test_our_configs_are_right(name, said):
    check_preprocessing(config_of(name))
    assert not said


@pytest.mark.parametrize('name, source, change, line', [
    ('maskrcnn_fastvit_sa12_coco.py', 'apple://in1k', dict(mean=[0., 0., 0.]),
     'model.data_preprocessor=dict(mean=[123.675, 116.28, 103.53]'),
    ('fpn_fastvit_mci3_ade20k.py', 'apple://mobileclip2_s3',
     dict(std=[255., 255., 255.]),
     'model.data_preprocessor=dict(mean=[122.7709, 116.746, 104.0937]'),
    ('retinanet_fastvit_mci0_coco.py', 'apple://mobileclip2_s0',
     dict(bgr_to_rgb=False), 'bgr_to_rgb=True'),
    ('fastvit_mci2_in1k.py', 'apple://mobileclip2_s2', dict(to_rgb=False),
     'Write data_preprocessor=dict('),
])
def test_a_difference_is_said_once(name, source, change, line, said):
    cfg = config_of(name)
    assert cfg.model.backbone.init_cfg.checkpoint == source
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    preprocessor.update(change)
    check_preprocessing(cfg)
    assert len(said) == 1 and line in said[0] and source in said[0]


def test_what_nobody_knows_is_let_be(said):
    for model in (None, dict(backbone=dict(type='ResNet')), dict(
            data_preprocessor=dict(mean=[1.]), backbone=dict(
                init_cfg=dict(type='Pretrained', checkpoint='own.pth')))):
        check_preprocessing(Config(dict(model=model)))
    assert not said
