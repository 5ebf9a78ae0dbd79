"""Depthwise convolutions of stride 1 that keep the size of their map.

In channels_last neighbours in memory are channels, so that a block of pixels and
channels is read, and written, in whole lines. Sums are in float32.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS, CHANNELS = 16, 64  # of a block
ROWS = 32  # of the map that one program sums up for the gradient of a kernel


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map (B, C, H, W) -> (B, C, H, W), both in channels_last.

    Args:
        x: The map.
        kernel: (C, 1, k, l), k and l odd.
        bias: (C,).
    """
    b, c, h, w = x.shape
    out = torch.empty_like(x, memory_format=torch.channels_last)
    by_tap = kernel.reshape(c, -1).t().contiguous()  # (k * l, C)
    grid = b * h, triton.cdiv(w, PIXELS), triton.cdiv(c, CHANNELS)
    _convolve[grid](x, by_tap, by_tap if bias is None else bias, out, h, w, c,
                    bias is not None, *kernel.shape[2:], PIXELS, CHANNELS)
    return out


def kernel_gradient(grad: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    """Return the gradient (C, 1, k, l) of a kernel.

    Args:
        grad: Of the result, (B, C, H, W) in channels_last.
        x: The map, likewise.
        kernel: (C, 1, k, l), for its shape and dtype.
    """
    b, c, h, w = x.shape
    height, width = kernel.shape[2:]
    parts = triton.cdiv(b * h, ROWS)
    # A sum for each program, added up in one order: the same numbers each time.
    sums = torch.empty((parts, height * width, c), dtype=torch.float32, device=x.device)
    grid = parts, height * width, triton.cdiv(c, CHANNELS)
    _kernel_gradient[grid](grad, x, sums, b * h, h, w, c, height, width, ROWS, PIXELS,
                           CHANNELS)
    return sums.sum(0).t().reshape(kernel.shape).to(kernel.dtype)


@triton.jit
def _convolve(x, kernel, bias, out, h, w, c, has_bias: tl.constexpr,
              height: tl.constexpr, width: tl.constexpr, pixels: tl.constexpr,
              channels: tl.constexpr):
    row = tl.program_id(0)  # of all images
    i = row % h
    column = tl.program_id(1) * pixels + tl.arange(0, pixels)
    channel = tl.program_id(2) * channels + tl.arange(0, channels)
    is_channel = channel < c
    total = tl.zeros((pixels, channels), tl.float32)
    if has_bias:
        total += tl.load(bias + channel, is_channel, 0.)[None, :].to(tl.float32)
    for dy in range(height):
        y = i + dy - height // 2
        for dx in range(width):
            seen = column + dx - width // 2
            inside = (y >= 0) & (y < h) & (seen >= 0) & (seen < w)
            place = ((row.to(tl.int64) + dy - height // 2) * w + seen) * c
            values = tl.load(x + place[:, None] + channel[None, :],
                             inside[:, None] & is_channel[None, :], 0.)
            weight = tl.load(kernel + (dy * width + dx) * c + channel, is_channel, 0.)
            total += values.to(tl.float32) * weight[None, :].to(tl.float32)
    place = (row.to(tl.int64) * w + column) * c
    tl.store(out + place[:, None] + channel[None, :], total.to(out.dtype.element_ty),
             (column < w)[:, None] & is_channel[None, :])


@triton.jit
def _kernel_gradient(grad, x, sums, all_rows, h, w, c, height: tl.constexpr,
                     width: tl.constexpr, rows: tl.constexpr, pixels: tl.constexpr,
                     channels: tl.constexpr):
    part, tap = tl.program_id(0), tl.program_id(1)
    dy, dx = tap // width - height // 2, tap % width - width // 2
    channel = tl.program_id(2) * channels + tl.arange(0, channels)
    is_channel = channel < c
    total = tl.zeros((pixels, channels), tl.float32)
    for row in range(part * rows, tl.minimum(part * rows + rows, all_rows)):
        y = row % h + dy
        for start in range(0, w, pixels):
            column = start + tl.arange(0, pixels)
            seen = column + dx
            inside = (y >= 0) & (y < h) & (column < w) & (seen >= 0) & (seen < w)
            mask = inside[:, None] & is_channel[None, :]
            first = tl.cast(row, tl.int64) * w
            here = (first + column)[:, None] * c + channel[None, :]
            there = (first + dy * w + seen)[:, None] * c + channel[None, :]
            total += (tl.load(grad + here, mask, 0.).to(tl.float32)
                      * tl.load(x + there, mask, 0.).to(tl.float32))
    place = (part * tl.num_programs(1) + tap) * c
    tl.store(sums + place + channel, tl.sum(total, 0), is_channel)
