"""RepConv: parallel convolutions that fold into one."""
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..fusion import Affine, fold_norm_after, identity_kernel, pad_kernel
from .norm import build_norm
from .reparameterizable import Reparameterizable


class ConvNorm(nn.Module):
    """One branch: a convolution without bias, and its norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int,
                 stride: int, groups: int, norm_cfg: dict):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride,
                              kernel_size // 2, groups=groups, bias=False)
        self.norm = build_norm(norm_cfg, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H', W')."""
        conv = self.conv
        if conv.kernel_size == (1, 1):
            # A 1x1 convolution sees only the pixels its stride lands on.
            # Picking them first is exact, and avoids oneDNN's stride-2
            # backward pass, which in torch 2.11 corrupts memory below 16
            # channels in channels_last (tests/test_memory_format.py).
            step_h, step_w = conv.stride
            x = F.conv2d(x[:, :, ::step_h, ::step_w], conv.weight,
                         groups=conv.groups)
        else:
            x = conv(x)
        return self.norm(x)


class RepConv(Reparameterizable):
    """The sum of convolutions of several sizes and a skip, each with a norm.

    With ``kernel_sizes=(3, 1)`` it is a MobileOne block (FastViT, section
    3.2) before its activation, with ``(7, 3)`` and no skip the large-kernel
    convolution of RepLKNet between the stages, with ``(7,)`` and no skip the
    plain convolution and norm in front of a ConvFFN.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_sizes: Odd sizes, the largest first.
        stride: Stride of every branch.
        groups: Groups of every branch.
        skip: Whether to add a norm of the input itself; it needs stride 1 and
            as many channels out as in.
        norm_cfg: Config of every norm.

    Example:
        >>> layer = RepConv(8, 8, (3, 1), groups=8, skip=True)
        >>> layer(torch.rand(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(self, in_channels: int, out_channels: int,
                 kernel_sizes: Sequence[int], stride: int = 1, groups: int = 1,
                 skip: bool = False, norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.convs = nn.ModuleList(
            ConvNorm(in_channels, out_channels, size, stride, groups, norm_cfg)
            for size in kernel_sizes)
        self.skip = build_norm(norm_cfg, in_channels) if skip else None

    @property
    def main(self) -> nn.Conv2d:
        return self.convs[0].conv

    def norms(self) -> list[nn.Module]:
        norms = [branch.norm for branch in self.convs]
        return norms if self.skip is None else norms + [self.skip]

    def equivalent(self) -> Affine:
        kernel, bias = 0, 0
        for branch in self.convs:
            part, offset = fold_norm_after(branch.conv.weight, None,
                                           branch.norm)
            kernel = kernel + pad_kernel(part, self.main.kernel_size[0])
            bias = bias + offset
        if self.skip is not None:
            part, offset = fold_norm_after(identity_kernel(self.main.weight),
                                           None, self.skip)
            kernel, bias = kernel + part, bias + offset
        return kernel, bias

    def forward_branches(self, x: Tensor) -> Tensor:
        out = 0 if self.skip is None else self.skip(x)
        for branch in self.convs:
            out = out + branch(x)
        return out
