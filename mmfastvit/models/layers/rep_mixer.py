"""RepMixer, the token mixer of the convolutional stages."""

import torch
from torch import Tensor, nn

from mmfastvit.models.reparam.fusion import (
    Affine,
    fold_norm_after,
    fold_scale,
    identity_kernel,
)
from mmfastvit.models.reparam.live import Term, sum_of_norms
from mmfastvit.models.reparam.reparameterizable import Reparameterizable

from .norm import build_norm
from .rep_conv import RepConv


class RepMixer(Reparameterizable):
    """x + s * (mixer(x) - norm(x)), with a depthwise 3x3 mixer.

    FastViT, section 3.1 and equation 3, as the reference code computes it and
    the published weights need it: the norm follows the mixer's convolution,
    where the equation puts it before (guarded by tests/models/test_reference.py).

    Args:
        channels: Channels ``C`` of the (B, C, H, W) input and output.
        layer_scale_init_value: Start value of ``s``, one factor per channel.
        norm_cfg: Config of every norm.
    """

    def __init__(self, channels: int, layer_scale_init_value: float = 1e-5,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.mixer = RepConv(channels, channels, (3, 1), groups=channels,
                             skip=True, norm_cfg=norm_cfg)
        self.norm = build_norm(norm_cfg, channels)
        self.layer_scale = nn.Parameter(
            torch.full((channels,), layer_scale_init_value))

    @property
    def main(self) -> nn.Conv2d:
        return self.mixer.main

    def norms(self) -> list[nn.Module]:
        return [*self.mixer.norms(), self.norm]

    def equivalent(self) -> Affine:
        identity = identity_kernel(self.main.weight)
        kernel, bias = self.mixer.equivalent()
        norm_kernel, norm_bias = fold_norm_after(identity, None, self.norm)
        kernel, bias = fold_scale(kernel - norm_kernel, bias - norm_bias,
                                  self.layer_scale)
        return identity + kernel, bias

    def forward_live(self, x: Tensor) -> Tensor:
        (x, of_input), *others = self.mixer.terms(x, self.layer_scale)
        of_input.append(Term(self.norm, weight=-self.layer_scale))
        return sum_of_norms([(x, of_input), *others], residual=True)

    def forward_branches(self, x: Tensor) -> Tensor:
        scale = self.layer_scale.view(-1, 1, 1)
        return x + scale * (self.mixer(x) - self.norm(x))
