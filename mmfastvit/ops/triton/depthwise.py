"""Kernels of depthwise convolutions.

In channels_last neighbours in memory are channels, so that a block of pixels and
channels is read, and written, in whole lines. A program computes ``ROWS`` rows: what it
has read serves several of them. Sums are in float32.
"""
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .gelu import gelu_of

ROWS = tl.constexpr(4)  # of the result that a program computes, each written out there
PIXELS, CHANNELS = 16, 64  # of a block
ROWS_OF_A_SUM = 32  # that a program adds up for the gradient of a kernel


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
             stride: Sequence[int] = (1, 1), gelu: bool = False) -> Tensor:
    """Map (B, C, H, W) -> (B, C', H', W'), both in channels_last, padded by k // 2.

    Args:
        x: The map.
        kernel: (C', 1, k, l), k and l odd, C' a multiple of C.
        bias: (C',).
        stride: Of rows and columns.
        gelu: Whether to return the exact GELU of it.
    """
    b, c, h, w = x.shape
    channels = len(kernel)
    out_h, out_w = ((side + step - 1) // step for side, step in zip((h, w), stride))
    out = torch.empty((b, channels, out_h, out_w), dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    outputs = channels // c  # of each channel
    by_tap = kernel.reshape(c, outputs, -1).permute(2, 1, 0).contiguous()
    if bias is not None:
        bias = bias.reshape(c, outputs).t().contiguous()
    grid = (b * triton.cdiv(out_h, ROWS), triton.cdiv(out_w, PIXELS),
            triton.cdiv(c, CHANNELS) * outputs)
    with torch.cuda.device_of(x):
        _convolve[grid](x, by_tap, by_tap if bias is None else bias, out, h, w, c,
                        out_h, out_w, outputs, *stride, bias is not None, gelu,
                        *kernel.shape[2:], PIXELS, CHANNELS)
    return out


def kernel_gradient(grad: Tensor, x: Tensor, kernel: Tensor,
                    stride: Sequence[int] = (1, 1)) -> Tensor:
    """Return the gradient (C', 1, k, l) of a kernel.

    Args:
        grad: Of the result, (B, C', H', W') in channels_last.
        x: The map, (B, C, H, W) in channels_last.
        kernel: (C', 1, k, l), for its shape and dtype.
        stride: Of rows and columns.
    """
    b, c, h, w = x.shape
    channels = len(kernel)
    height, width = kernel.shape[2:]
    out_h, out_w = grad.shape[2:]
    shares = triton.cdiv(b * out_h, ROWS_OF_A_SUM)
    # A sum for each program, added up in one order: the same numbers each time.
    sums = torch.empty((shares, height, width, channels), dtype=torch.float32,
                       device=x.device)
    grid = shares, height, triton.cdiv(channels, CHANNELS)
    with torch.cuda.device_of(x):
        _kernel_gradient[grid](grad, x, sums, b * out_h, h, w, c, out_h, out_w,
                               channels // c, *stride, height, width,
                               triton.next_power_of_2(width), ROWS_OF_A_SUM, PIXELS,
                               CHANNELS, num_warps=8)
    return sums.sum(0).permute(2, 0, 1).reshape(kernel.shape).to(kernel.dtype)


@triton.jit
def _times_tap(total, values, kernel, channel, is_channel, c, multiplier: tl.constexpr,
               dy: tl.constexpr, dx, height: tl.constexpr, width: tl.constexpr):
    """Add what a row of the map gives to a row of the result, if it is in reach."""
    if dy >= 0 and dy < height:
        weight = tl.load(kernel + (dy * width + dx) * multiplier * c + channel,
                         is_channel, 0.)
        total += values * weight[None, :].to(tl.float32)
    return total


@triton.jit
def _store_row(out, total, row, column, channel, is_channel, out_h, out_w, c,
               multiplier: tl.constexpr, output, gelu: tl.constexpr):
    if gelu:
        total = gelu_of(total)
    place = (row * out_w + column)[:, None] * (c * multiplier)
    tl.store(out + place + (channel * multiplier + output)[None, :],
             total.to(out.dtype.element_ty),
             ((column < out_w) & (row < out_h))[:, None] & is_channel[None, :])


@triton.jit
def _convolve(x, kernel, bias, out, h, w, c, out_h, out_w, multiplier: tl.constexpr,
              stride_h: tl.constexpr, stride_w: tl.constexpr, has_bias: tl.constexpr,
              gelu: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
              pixels: tl.constexpr, channels: tl.constexpr):
    tl.static_assert(ROWS == 4)
    strips = tl.cdiv(out_h, ROWS)
    image = (tl.program_id(0) // strips).to(tl.int64)
    first = tl.program_id(0) % strips * ROWS
    column = tl.program_id(1) * pixels + tl.arange(0, pixels)
    # Neighbours are channels of the map; each has several results, one a program.
    output = tl.program_id(2) % multiplier
    channel = tl.program_id(2) // multiplier * channels + tl.arange(0, channels)
    is_channel = channel < c
    x += image * h * w * c
    out += image * out_h * out_w * c * multiplier
    kernel += output * c
    total_0 = tl.zeros((pixels, channels), tl.float32)
    if has_bias:
        total_0 += tl.load(bias + output * c + channel, is_channel, 0.)[None, :].to(
            tl.float32)
    total_1 = total_0
    total_2 = total_0
    total_3 = total_0
    for dx in range(width):
        seen = column * stride_w + dx - width // 2
        in_row = (seen >= 0) & (seen < w)
        place = seen[:, None] * c + channel[None, :]
        for step in tl.static_range((ROWS - 1) * stride_h + height):
            y = first * stride_h + step - height // 2
            inside = (in_row & (y >= 0) & (y < h))[:, None] & is_channel[None, :]
            values = tl.load(x + (y * w * c + place), inside, 0.).to(tl.float32)
            total_0 = _times_tap(total_0, values, kernel, channel, is_channel, c,
                                 multiplier, step, dx, height, width)
            total_1 = _times_tap(total_1, values, kernel, channel, is_channel, c,
                                 multiplier, step - stride_h, dx, height, width)
            total_2 = _times_tap(total_2, values, kernel, channel, is_channel, c,
                                 multiplier, step - 2 * stride_h, dx, height, width)
            total_3 = _times_tap(total_3, values, kernel, channel, is_channel, c,
                                 multiplier, step - 3 * stride_h, dx, height, width)
    _store_row(out, total_0, first, column, channel, is_channel, out_h, out_w, c,
               multiplier, output, gelu)
    _store_row(out, total_1, first + 1, column, channel, is_channel, out_h, out_w, c,
               multiplier, output, gelu)
    _store_row(out, total_2, first + 2, column, channel, is_channel, out_h, out_w, c,
               multiplier, output, gelu)
    _store_row(out, total_3, first + 3, column, channel, is_channel, out_h, out_w, c,
               multiplier, output, gelu)


@triton.jit
def _kernel_gradient(grad, x, sums, all_rows, h, w, c, out_h, out_w,
                     multiplier: tl.constexpr, stride_h: tl.constexpr,
                     stride_w: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
                     taps: tl.constexpr, rows: tl.constexpr, pixels: tl.constexpr,
                     channels: tl.constexpr):
    share, dy = tl.program_id(0), tl.program_id(1)
    tap = tl.arange(0, taps)  # of a row of the kernel
    channel = tl.program_id(2) * channels + tl.arange(0, channels)
    is_channel = channel < c * multiplier
    total = tl.zeros((taps, pixels, channels), tl.float32)
    for row in range(share * rows, tl.minimum(share * rows + rows, all_rows)):
        image = row // out_h
        y = row % out_h * stride_h + dy - height // 2
        for start in range(0, out_w, pixels):
            column = start + tl.arange(0, pixels)
            seen = column[None, :] * stride_w + tap[:, None] - width // 2
            inside = ((y >= 0) & (y < h) & (seen >= 0) & (seen < w)
                      & (tap < width)[:, None])
            here = (tl.cast(row, tl.int64) * out_w + column) * c * multiplier
            there = ((tl.cast(image, tl.int64) * h + y) * w + seen) * c
            of_out = tl.load(grad + here[:, None] + channel[None, :],
                             (column < out_w)[:, None] & is_channel[None, :], 0.)
            values = tl.load(x + there[:, :, None]
                             + (channel // multiplier)[None, None, :],
                             inside[:, :, None] & is_channel[None, None, :], 0.)
            total += values.to(tl.float32) * of_out[None, :, :].to(tl.float32)
    place = ((share * height + dy) * width + tap) * c * multiplier
    tl.store(sums + place[:, None] + channel[None, :], tl.sum(total, 1),
             (tap < width)[:, None] & is_channel[None, :])
