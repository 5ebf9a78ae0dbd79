"""Which numbers forms for GPUs take, and what autocast makes of them."""
import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_taken(x: Tensor, *parameters: Tensor) -> bool:
    """Whether a GPU holds ``x``, in numbers that float32 is wide enough to sum up."""
    return (x.is_cuda and x.numel() > 0 and x.dtype in DTYPES
            and (torch.is_autocast_enabled()
                 or all(p.dtype == x.dtype for p in parameters)))


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a convolution of ``x`` computes."""
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else x.dtype


def in_autocast(*tensors: Tensor | None) -> list[Tensor | None]:
    """Return the tensors as autocast would give them to a convolution."""
    if not torch.is_autocast_enabled():
        return list(tensors)
    dtype = torch.get_autocast_gpu_dtype()
    return [t if t is None else t.to(dtype) for t in tensors]


# The compiler cannot follow it, and takes the answer of when it compiles.
@torch.compiler.assume_constant_result
def multiplies_in_tf32() -> bool:
    """Whether PyTorch's own convolutions of float32 read 10 of its 23 bits."""
    cudnn = torch.backends.cudnn
    if hasattr(cudnn, 'conv'):  # torch 2.9
        return cudnn.conv.fp32_precision == 'tf32'
    return cudnn.allow_tf32
