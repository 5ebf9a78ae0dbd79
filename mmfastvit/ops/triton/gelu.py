"""GELU inside other kernels."""
import triton
import triton.language as tl


@triton.jit
def gelu_of(x):
    """Return the exact GELU of ``x``, in float32."""
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
