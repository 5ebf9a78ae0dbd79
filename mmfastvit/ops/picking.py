"""A strided slice whose gradient keeps the memory format.

PyTorch's own gradient is contiguous, and so would be all that is computed from it.
"""
import torch
from torch.autograd import Function

from .dispatch import twice_differentiable
from .functions import pick


@pick.faster(takes=lambda x, stride: torch.is_grad_enabled())
def _pick(x, stride):
    return _Pick.apply(x, stride)


class _Pick(Function):

    @staticmethod
    def forward(ctx, x, stride):
        ctx.stride = stride
        ctx.device, ctx.like = x.device, torch.empty_like(x, device='meta')
        return pick.plain(x, stride)

    @staticmethod
    def inputs(ctx):  # linear: any x will do
        return torch.zeros_like(ctx.like, device=ctx.device, requires_grad=True), None

    @staticmethod
    def plain(ctx, x, _):
        return pick.plain(x, ctx.stride)

    @staticmethod
    @twice_differentiable
    def backward(ctx, grad):
        grad_x = torch.zeros_like(ctx.like, device=ctx.device)
        pick.plain(grad_x, ctx.stride).copy_(grad)
        return grad_x, None
