"""Attention with a learned bias, whose weights are computed again in backward."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..dispatch import is_cpu, twice_differentiable
from ..functions import attention

CHUNK = 2**20  # attention weights at a time: 4 MB


@attention.faster(takes=lambda q, k, v, bias=None: (
    bias is not None and torch.is_grad_enabled() and is_cpu(q)
    and q.dtype == k.dtype == v.dtype == bias.dtype))
def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return _Attention.apply(q, k, v, bias)


class _Attention(Function):
    """What PyTorch's own does not: a fused kernel whose mask gets a gradient.

    The weights, windows times heads times N times N, are never kept.
    """

    @staticmethod
    def forward(ctx, q, k, v, bias):
        out = F.scaled_dot_product_attention(q, k, v, bias[None])
        ctx.save_for_backward(q, k, v, bias, out)
        return out

    @staticmethod
    def inputs(ctx):
        return ctx.saved_tensors[:4]

    @staticmethod
    def plain(ctx, q, k, v, bias):
        return attention.plain(q, k, v, bias)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        q, k, v, bias, out = ctx.saved_tensors
        scale = q.shape[3] ** -0.5
        grad_bias = torch.zeros_like(bias)
        grads = []
        size = max(1, CHUNK // bias.numel())
        for of_out, out_, q_, k_, v_ in zip(*(
                t.split(size) for t in (grad, out, q, k, v))):
            weights = torch.softmax((q_ @ k_.mT).mul_(scale).add_(bias), -1)
            of_weights = of_out @ v_.mT
            of_weights -= (of_out * out_).sum(-1, keepdim=True)
            of_weights *= weights
            grad_bias += of_weights.sum(0)
            grads.append(((of_weights @ k_).mul_(scale), (of_weights.mT @ q_).mul_(
                scale), weights.mT @ of_out))
        return *(torch.cat(parts) for parts in zip(*grads)), grad_bias
