"""Whether something watches: ``torch.compile``, an exporter, a tracer."""
import torch

# torch 2.1 cannot tell; there, the compiler sees what eager mode runs.
is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)


def is_traced() -> bool:
    """Whether operations are recorded, and have to be the plain ones."""
    return is_compiling() or torch.jit.is_tracing()
