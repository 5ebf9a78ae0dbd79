"""Forms for CPUs, which leave or join PyTorch's operators where those are slow."""
from . import (  # noqa: F401  registers them
    attention,
    convolution,
    feed_forward,
    linear,
    live_stem,
    strips,
)
