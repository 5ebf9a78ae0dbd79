"""RepConv: parallel convolutions that fold into one."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.reparam.fusion import (
    Affine,
    fold_norm_after,
    fold_sum,
    identity_kernel,
    pad_kernel,
    widen,
)
from mmfastvit.models.reparam.live import Term, Terms, sum_of_norms, with_moments
from mmfastvit.models.reparam.reparameterizable import Reparameterizable

from .modules import Conv2d
from .norm import build_norm

# Values in a patch up to which their covariance costs less than the branches'
# outputs: the patches of an image have 27.
MAX_PATCH = 32


class ConvNorm(nn.Module):
    """One branch: a convolution, and its norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int,
                 stride: int, groups: int, norm_cfg: dict, bias: bool):
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride,
                           kernel_size // 2, groups=groups, bias=bias)
        self.norm = build_norm(norm_cfg, out_channels)

    @property
    def only_scales(self) -> bool:
        """Whether the convolution multiplies each channel by a number."""
        conv = self.conv
        return (conv.weight.shape[1:].numel() == 1 and conv.bias is None
                and conv.groups == conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, C', H', W')."""
        return self.norm(self.conv(x))


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
        bias: Whether the convolutions have a bias of their own, which a norm on
            batch statistics takes away again.

    Example:
        >>> layer = RepConv(8, 8, (3, 1), groups=8, skip=True)
        >>> layer(torch.rand(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(self, in_channels: int, out_channels: int,
                 kernel_sizes: Sequence[int], stride: int = 1, groups: int = 1,
                 skip: bool = False, norm_cfg: dict = dict(type='BN'),
                 bias: bool = False):
        super().__init__()
        self.convs = nn.ModuleList(
            ConvNorm(in_channels, out_channels, size, stride, groups, norm_cfg, bias)
            for size in kernel_sizes)
        self.skip = build_norm(norm_cfg, in_channels) if skip else None

    @property
    def main(self) -> nn.Conv2d:
        return self.convs[0].conv

    def norms(self) -> list[nn.Module]:
        norms = [branch.norm for branch in self.convs]
        return norms if self.skip is None else norms + [self.skip]

    def equivalent(self) -> Affine:
        parts = [fold_norm_after(branch.conv.weight, branch.conv.bias, branch.norm)
                 for branch in self.convs]
        if self.skip is not None:
            parts.append(fold_norm_after(identity_kernel(self.main.weight), None,
                                         self.skip))
        return fold_sum(parts)

    def terms(self, x: Tensor, weight: Tensor | None = None) -> Terms:
        """Return what the branches add up, each times ``weight`` (C,).

        The norms of the input's own multiples come first.
        """
        seen, stride = x, self.main.stride
        if stride != (1, 1) and any(branch.only_scales for branch in self.convs):
            seen = ops.pick(x, stride)
        return self.terms_of(seen, [branch.conv(x) for branch in self.convs
                                    if not branch.only_scales], weight)

    def terms_of(self, seen: Tensor, maps: Sequence[Tensor],
                 weight: Tensor | None = None) -> Terms:
        """Return the same, of maps that are there.

        Args:
            seen: The input, of stride 2 what a 1x1 convolution sees of it.
            maps: Of the branches that do more than scale.
            weight: (C,).
        """
        of_input = [Term(branch.norm, branch.conv.weight.flatten(), weight)
                    for branch in self.convs if branch.only_scales]
        if self.skip is not None:
            of_input.append(Term(self.skip, weight=weight))
        terms = [(x, [Term(branch.norm, weight=weight)]) for x, branch in zip(
            maps, (branch for branch in self.convs if not branch.only_scales))]
        return [(seen, of_input), *terms] if of_input else terms

    def forward_live(self, x: Tensor) -> Tensor:
        if self.knows_statistics(x):
            return self.run(x, *self.live_kernel_and_bias(x))
        return sum_of_norms(self.terms(x))

    def knows_statistics(self, x: Tensor) -> bool:
        """Whether its norms' statistics follow from the patches of an image."""
        return (self.main.weight[0].numel() <= MAX_PATCH and self.main.groups == 1
                and self.skip is None and not x.requires_grad
                and all(branch.conv.bias is None for branch in self.convs))

    def live_kernel_and_bias(self, x: Tensor) -> Affine:
        """Return those of the one convolution, on an input that needs no gradient.

        The mean m and covariance S of the patches that the kernel sees give
        each branch's statistics: its kernel k has mean k m and variance k S k.
        """
        op = self.main
        kernels = [pad_kernel(widen(branch.conv.weight), op.kernel_size[0])
                   for branch in self.convs]
        with torch.autocast(x.device.type, enabled=False):
            patches = F.unfold(widen(x), op.kernel_size, padding=op.padding,
                               stride=op.stride)  # (B, values of a patch, patches)
            mean = patches.mean((0, 2), keepdim=True)[0]
            patches = patches - mean
            count = len(patches) * patches.shape[2]
            covariance = (patches @ patches.transpose(1, 2)).sum(0) / count
            moments = [((k @ mean).squeeze(1), ((k @ covariance) * k).sum(1))
                       for k in (kernel.flatten(1) for kernel in kernels)]
        norms = with_moments([branch.norm for branch in self.convs], moments,
                             count)
        return tuple(t.to(op.weight.dtype) for t in fold_sum([
            fold_norm_after(kernel, None, norm)
            for kernel, norm in zip(kernels, norms)]))

    def forward_branches(self, x: Tensor) -> Tensor:
        out = 0 if self.skip is None else self.skip(x)
        for branch in self.convs:
            out = out + branch(x)
        return out


def conv_of_gelu(conv: nn.Module, x: Tensor, inplace: bool) -> Tensor:
    """Return conv(gelu(x)), (B, C, H, W) -> (B, C', H', W').

    Args:
        conv: A ``RepConv``, or what a user put in its place.
        inplace: Whether, in inference, ``x`` may be overwritten.
    """
    if inplace and isinstance(conv, RepConv) and conv.is_one_operation():
        return conv.run(x, *conv.kernel_and_bias(), after_gelu=True)
    return conv(ops.gelu(x, inplace))
