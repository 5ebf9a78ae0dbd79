"""Linear maps by the faster of PyTorch's two libraries for them."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functions
from ..dispatch import is_cpu
from ..library import operator

HAS_ONEDNN = (torch.backends.mkldnn.is_available()
              and hasattr(torch.ops.mkldnn, '_linear_pointwise'))
# Rows from which oneDNN, which first lays out the kernel anew, is faster than MKL,
# where the map widens (or keeps) and where it narrows: docs/benchmarks.md.
FROM_ROWS = 128, 64


def _takes(x: Tensor, *_: Tensor | None, **__: Tensor | None) -> bool:
    return not torch.is_grad_enabled() and is_cpu(x) and x.ndim > 1


@functions.linear.faster(takes=_takes)
def _linear(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    return linear(x.flatten(0, -2), kernel, bias).view(*x.shape[:-1], len(kernel))


# The compiler takes MKL's products where it does not know the kernel.
@functions.linear.compiled(takes=_takes)
def _as_operator(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mmfastvit.linear_of_rows(x.flatten(0, -2), kernel, bias).view(
        *x.shape[:-1], len(kernel))


@operator(lambda x, kernel, bias: x.new_empty(x.shape[0], kernel.shape[0]))
def linear_of_rows(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    return linear(x, kernel, bias)


def linear(x: Tensor, kernel: Tensor, bias: Tensor | None = None,
           gelu: bool = False) -> Tensor:
    """Map (rows, C) -> (rows, C'), with an exact GELU after it on request.

    No gradient flows through it. oneDNN, which PyTorch's own compiler calls, too,
    applies the GELU while it writes.

    Args:
        kernel: (C', C).
        bias: (C',).
    """
    narrows = kernel.shape[0] < kernel.shape[1]
    if x.dtype == torch.float32 and HAS_ONEDNN and len(x) >= FROM_ROWS[narrows]:
        if bias is not None:
            bias = bias.contiguous()  # it reads any other as if it were
        return torch.ops.mkldnn._linear_pointwise(
            x, kernel, bias, 'gelu' if gelu else 'none', [], 'none')
    out = F.linear(x, kernel, bias)
    return torch.ops.aten.gelu_(out) if gelu else out
