import torch
from mmengine.registry import MODELS

from mmfastvit import FastViTNeck, reparameterize


def test_shapes_and_registration():
    neck = MODELS.build(dict(type='FastViTNeck', in_channels=64))
    features = torch.rand(2, 32, 16, 16), torch.rand(2, 64, 8, 8)
    (out,) = neck(features)
    assert out.shape == (2, 128)
    assert neck(features[-1])[0].shape == (2, 128)


def test_squeeze_excite_ratio():
    assert FastViTNeck(512).se.reduce.weight.shape == (64, 1024, 1, 1)
    assert FastViTNeck(384).se.reduce.weight.shape == (48, 768, 1, 1)


def test_switch_to_deploy():
    neck = FastViTNeck(64)
    neck.switch_to_deploy()
    assert neck.conv.fused is not None
    assert reparameterize(neck).conv.fused is not None
