"""Whether ``torch.compile`` or ``torch.export`` is tracing."""
import torch

# torch 2.1 cannot tell; there, the compiler sees what eager mode runs.
is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)
