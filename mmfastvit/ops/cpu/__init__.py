"""Forms for CPUs, which leave or join PyTorch's operators where those are slow."""
from . import convolution, feed_forward, linear, strips  # noqa: F401  registers them
