"""A network's first layers, whose activations are computed while maps are written."""
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..functions import conv2d, conv_stem, stem_convs
from ..layouts import gelu_, is_channels_last
from ..library import operator
from ..precision import in_autocast, is_taken
from . import choice, depthwise
from .gelu import gelu_of

PIXELS = 128  # of a program
MAX_CHANNELS = 128
MAX_PATCH = 64  # values that a kernel sees


def _takes(x: Tensor, act: str, strides: Sequence[int], parameters: Sequence[Tensor]
           ) -> bool:
    kernel = parameters[0]
    return (act == 'gelu' and not torch.is_grad_enabled() and is_taken(x, *parameters)
            # Pictures follow their kernels.
            and (is_channels_last(x) or is_channels_last(kernel))
            and choice.runs_kernels(x.device.index)
            and kernel.shape[2:] == (3, 3) and 9 * x.shape[1] <= MAX_PATCH
            and kernel.shape[1] == x.shape[1] and len(kernel) <= MAX_CHANNELS
            and strides[0] == 2 and choice.fits(x.shape, len(kernel))
            and x.numel() // (4 * x.shape[1]) * len(kernel) >= choice.LARGE
            and choice.multiplies_as_pytorch(x))


@conv_stem.faster(takes=_takes)
def _with_activations(x: Tensor, act: str, strides: Sequence[int],
                      parameters: Sequence[Tensor]) -> Tensor:
    return compute(*in_autocast(x), strides, in_autocast(*parameters))


@conv_stem.compiled(takes=_takes)
def _as_operator(x: Tensor, act: str, strides: Sequence[int],
                 parameters: Sequence[Tensor]) -> Tensor:
    return torch.ops.mmfastvit.triton_stem(*in_autocast(x), list(strides),
                                           in_autocast(*parameters))


def compute(x: Tensor, strides: Sequence[int], parameters: Sequence[Tensor]) -> Tensor:
    """Map images (B, C, H, W) -> (B, C', H/s, W/s), as ``conv_stem`` does, with GELUs.

    Args:
        x: The images.
        strides: As in ``conv_stem``.
        parameters: Likewise.
    """
    for i, (kernel, bias, options) in enumerate(stem_convs(x, strides, parameters)):
        stride, *_, groups = options
        if i == 0:
            x = convolve_image(x, kernel, bias)
        elif groups == x.shape[1] > 1:
            x = depthwise.convolve(x, kernel, bias, stride, gelu=True)
        else:
            x = gelu_(conv2d(x, kernel, bias, *options))
    return x.contiguous(memory_format=torch.channels_last)


def convolve_image(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Map (B, C, H, W) -> (B, C', H/2, W/2) in channels_last, with a GELU.

    Args:
        x: Images.
        kernel: (C', C, 3, 3).
        bias: (C',).
    """
    x = x.contiguous(memory_format=torch.channels_last)
    b, c, h, w = x.shape
    channels = len(kernel)
    out_h, out_w = (h + 1) // 2, (w + 1) // 2
    out = torch.empty((b, channels, out_h, out_w), dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    with torch.cuda.device_of(x):
        _convolve_image[b * out_h, triton.cdiv(out_w, PIXELS)](
            x, kernel.contiguous(), bias.contiguous(), out, h, w, c, channels, out_h,
            out_w, max(16, triton.next_power_of_2(9 * c)),
            max(16, triton.next_power_of_2(channels)), PIXELS,
            'tf32' if x.dtype == torch.float32 else 'ieee')
    return out


@operator(lambda x, strides, parameters: _shape_of(x, strides, parameters))
def triton_stem(x: Tensor, strides: Sequence[int], parameters: Sequence[Tensor]
                ) -> Tensor:
    return compute(x, strides, parameters)


def _shape_of(x: Tensor, strides: Sequence[int], parameters: Sequence[Tensor]
              ) -> Tensor:
    height, width = x.shape[2:]
    for stride in strides:
        height, width = ((side + stride - 1) // stride for side in (height, width))
    return torch.empty((x.shape[0], parameters[-1].shape[0], height, width),
                       dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@triton.jit
def _convolve_image(x, kernel, bias, out, h, w, c: tl.constexpr, out_c: tl.constexpr,
                    out_h, out_w, taps: tl.constexpr, padded: tl.constexpr,
                    pixels: tl.constexpr, precision: tl.constexpr):
    row = tl.program_id(0)  # of all images
    column = tl.program_id(1) * pixels + tl.arange(0, pixels)
    value = tl.arange(0, taps)  # of a patch, channels last
    tap, of = value // c, value % c
    channel = tl.arange(0, padded)
    y = row % out_h * 2 + tap // 3 - 1
    seen = column[:, None] * 2 + (tap % 3)[None, :] - 1
    inside = (((value < 9 * c) & (y >= 0) & (y < h))[None, :]
              & (seen >= 0) & (seen < w))
    row_seen = (row // out_h).to(tl.int64) * h + y
    place = (row_seen[None, :] * w + seen) * c + of[None, :]
    patches = tl.load(x + place, inside, 0.)
    weights = tl.load(
        kernel + channel[None, :] * (9 * c) + (of * 9 + tap)[:, None],
        (value < 9 * c)[:, None] & (channel < out_c)[None, :], 0.)
    total = tl.dot(patches, weights, input_precision=precision)
    total += tl.load(bias + channel, channel < out_c, 0.)[None, :].to(tl.float32)
    place = (row.to(tl.int64) * out_w + column) * out_c
    tl.store(out + place[:, None] + channel[None, :],
             gelu_of(total).to(out.dtype.element_ty),
             (column < out_w)[:, None] & (channel < out_c)[None, :])
