"""What the models compute, each function by PyTorch's own operators.

These bodies are what a function means. Faster forms stand in for them where nothing
can tell the difference but a clock (:mod:`mmfastvit.ops.dispatch`).
"""
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import dispatched

Pair = tuple[int, int]
Moments = tuple[Tensor, Tensor]  # mean and biased variance, each (C,)


@dispatched
def gelu(x: Tensor, inplace: bool = False) -> Tensor:
    """Return the exact GELU of ``x``, of any shape.

    Args:
        inplace: Whether, in inference, the result may take the memory of ``x``.
    """
    return F.gelu(x)


@dispatched
def add(x: Tensor, y: Tensor, inplace: bool = False) -> Tensor:
    """Return x + y, of one shape.

    Args:
        inplace: Whether, in inference, the result may take the memory of ``y``.
    """
    return x + y


@dispatched
def conv2d(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
           stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1),
           groups: int = 1) -> Tensor:
    """Map (B, C, H, W) -> (B, C', H', W'), as ``F.conv2d`` does.

    Args:
        kernel: (C', C / groups, k, k).
        bias: (C',).
    """
    return F.conv2d(x, kernel, bias, stride, padding, dilation, groups)


@dispatched
def gelu_conv2d(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
                stride: Pair = (1, 1), padding: Pair = (0, 0),
                dilation: Pair = (1, 1), groups: int = 1,
                inplace: bool = False) -> Tensor:
    """Return conv2d(gelu(x)), (B, C, H, W) -> (B, C', H', W').

    Args:
        inplace: Whether, in inference, ``x`` may be overwritten.
    """
    return F.conv2d(F.gelu(x), kernel, bias, stride, padding, dilation, groups)


@dispatched
def linear(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map (..., C) -> (..., C'), as ``F.linear`` does.

    Args:
        kernel: (C', C).
        bias: (C',).
    """
    return F.linear(x, kernel, bias)


@dispatched
def feed_forward(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
                 bias_2: Tensor, inplace: bool = False) -> Tensor:
    """Map (B, C, H, W) -> (B, C', H, W): a 1x1 convolution, a GELU, and another.

    Args:
        kernel_1: (hidden, C, 1, 1).
        bias_1: (hidden,).
        kernel_2: (C', hidden, 1, 1).
        bias_2: (C',).
        inplace: Whether, in inference, ``x`` may be overwritten.
    """
    return F.conv2d(F.gelu(F.conv2d(x, kernel_1, bias_1)), kernel_2, bias_2)


@dispatched
def mlp(x: Tensor, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
        bias_2: Tensor) -> Tensor:
    """Map tokens (B, N, C) -> (B, N, C'): a linear map, a GELU, and another.

    Args:
        kernel_1: (hidden, C).
        bias_1: (hidden,).
        kernel_2: (C', hidden).
        bias_2: (C',).
    """
    return F.linear(F.gelu(F.linear(x, kernel_1, bias_1)), kernel_2, bias_2)


@dispatched
def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v.

    Args:
        q, k, v: (B, heads, N, d).
        bias: (heads, N, N), the same for all of the batch.
    """
    mask = None if bias is None else bias.to(q.dtype)[None]
    return F.scaled_dot_product_attention(q, k, v, mask)


@dispatched
def to_windows(x: Tensor, side: int) -> Tensor:
    """Cut a map (B, C, H, W) into windows (B * rows * columns, side * side, C).

    Zeros below and on the right fill the last ones. Images come first, then windows
    row by row, then pixels row by row.
    """
    b, c, h, w = x.shape
    rows, columns = windows_along(h, side), windows_along(w, side)
    x = F.pad(x.permute(0, 2, 3, 1),
              (0, 0, 0, columns * side - w, 0, rows * side - h))
    x = x.reshape(b, rows, side, columns, side, c).transpose(2, 3)
    return x.reshape(b * rows * columns, side * side, c)


@dispatched
def from_windows(windows: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    """Put windows in place again, (B * rows * columns, side * side, C) -> (B, C, H, W).

    Args:
        shape: Of the map, without what filled the last windows.
    """
    b, c, h, w = shape
    rows, columns = windows_along(h, side), windows_along(w, side)
    x = windows.reshape(b, rows, columns, side, side, c).transpose(2, 3)
    x = x.reshape(b, rows * side, columns * side, c)
    return x[:, :h, :w].permute(0, 3, 1, 2)


@dispatched
def pick(x: Tensor, stride: Pair) -> Tensor:
    """Return every stride-th row and column of (B, C, H, W), from the first on."""
    return x[:, :, ::stride[0], ::stride[1]]


@dispatched
def conv_stem(x: Tensor, act: str, strides: Sequence[int], parameters: Sequence[Tensor]
              ) -> Tensor:
    """Map images (B, C, H, W) -> (B, C', H/s, W/s): convolutions, each with an act.

    Args:
        act: ``'gelu'`` or ``'relu'``.
        strides: Of each convolution, as in :func:`stem_convs`.
        parameters: Kernel and bias of each: (C', C / groups, k, k), k being 1 or 3, and
            (C',).
    """
    function = F.gelu if act == 'gelu' else F.relu
    for kernel, bias, options in stem_convs(x, strides, parameters):
        x = function(F.conv2d(x, kernel, bias, *options))
    return x


@dispatched
def stem_maps(x: Tensor, act: str, kernel_1: Tensor, bias_1: Tensor, kernel_2: Tensor,
              picks: bool) -> tuple[Tensor, ...]:
    """Return the maps of a stem's second convolution, (B, C2, H/4, W/4), and more.

    Both have stride 2 and 3x3 kernels, and the first an act after it.

    Args:
        act: ``'gelu'`` or ``'relu'``.
        kernel_1: (C1, C, 3, 3).
        bias_1: (C1,).
        kernel_2: (C2, C1 / groups, 3, 3).
        picks: Whether to return what a 1x1 convolution of stride 2 would see of the
            act, too, (B, C1, H/4, W/4).
    """
    function = F.gelu if act == 'gelu' else F.relu
    x = function(F.conv2d(x, kernel_1, bias_1, 2, 1))
    out = F.conv2d(x, kernel_2, None, 2, 1, 1, len(kernel_1) // kernel_2.shape[1])
    return (out, x[:, :, ::2, ::2]) if picks else (out, )


def stem_convs(x: Tensor, strides: Sequence[int], parameters: Sequence[Tensor]
               ) -> Iterator[tuple[Tensor, Tensor, tuple]]:
    """Yield kernel, bias and options of each convolution that keeps, or halves, maps.

    Those of stride 2 have 3x3 kernels and come first, those of stride 1 may be 1x1
    alone.
    """
    channels = x.shape[1]
    for stride, kernel, bias in zip(strides, parameters[::2], parameters[1::2]):
        padding = kernel.shape[2] // 2
        yield kernel, bias, ((stride, stride), (padding, padding), (1, 1),
                             channels // kernel.shape[1])
        channels = kernel.shape[0]


@dispatched
def moments(x: Tensor) -> Moments:
    """Return mean and biased variance (C,) of (B, C, H, W), at least float32."""
    variance, mean = torch.var_mean(widen(x), (0, 2, 3), correction=0)
    return mean, variance


@dispatched
def sum_by_moments(
        maps: Sequence[Tensor],
        combine: Callable[..., tuple[Tensor, list[Tensor], list[Tensor]]],
        parameters: Sequence[Tensor]) -> Tensor:
    """Return offset + the sum of weight * (map - centre), (B, C, H, W).

    Args:
        maps: Of one shape (B, C, H, W).
        combine: From a list of each map's moments, and the parameters, to ``offset``
            (C,), and of each map its ``weight`` and ``centre``, each (C,). The latter
            get no gradient.
        parameters: What else the vectors depend on.
    """
    return weighted_sum(maps, *combine([moments(x) for x in maps], parameters))


def weighted_sum(maps: Sequence[Tensor], offset: Tensor, weights: Sequence[Tensor],
                 centres: Sequence[Tensor]) -> Tensor:
    """Return offset + the sum of weight * (map - centre), in the maps' dtype."""
    for weight, centre in zip(weights, centres):
        offset = offset - weight * centre
    total = torch.addcmul(by_channel(offset), maps[0], by_channel(weights[0]))
    for weight, x in zip(weights[1:], maps[1:]):
        total = total.addcmul_(x, by_channel(weight))
    return total.to(maps[-1].dtype)


def windows_along(length: int, side: int) -> int:
    """Return how many windows an axis needs."""
    return (length + side - 1) // side


def widen(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or unchanged if it is wider already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def by_channel(vector: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1), to go with (B, C, H, W)."""
    return vector[:, None, None]
