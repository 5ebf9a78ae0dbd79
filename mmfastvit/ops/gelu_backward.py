"""The gradient of GELU, in any memory format."""
import torch
from torch import Tensor

from .layouts import by_pixel


def gelu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Return GELU'(x) * grad, both of one shape."""
    return by_pixel(torch.ops.aten.gelu_backward, _laid_out_like(x, grad), x)


def gelu_backward_(grad: Tensor, x: Tensor) -> Tensor:
    """Return GELU'(x) * grad; ``grad`` may be overwritten."""
    def overwrite(grad, x):
        return torch.ops.aten.gelu_backward.grad_input(grad, x, grad_input=grad)

    return by_pixel(overwrite, _laid_out_like(x, grad), x)


def _laid_out_like(x: Tensor, grad: Tensor) -> Tensor:
    """Return ``grad`` in the memory format of ``x``.

    Of any other, torch 2.1 computes a wrong gradient of GELU without a word
    (guarded by tests/ops/test_gelu.py).
    """
    return grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)
