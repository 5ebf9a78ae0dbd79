"""Whether something watches: ``torch.compile``, an exporter, a tracer, autocast."""
import torch
from torch import Tensor

# torch 2.1 cannot tell; there, the compiler sees what eager mode runs.
is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)


def is_traced() -> bool:
    """Whether operations are recorded, and have to be the plain ones."""
    return is_compiling() or torch.jit.is_tracing()


def is_plain_cpu(x: Tensor) -> bool:
    """Whether what is faster on CPUs may stand in for PyTorch's own operations.

    Not under autocast, which would choose other dtypes for what a backward pass
    computes again than the forward pass had.
    """
    return x.device.type == 'cpu' and not is_traced() and not _is_autocast()


def _is_autocast() -> bool:
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()
