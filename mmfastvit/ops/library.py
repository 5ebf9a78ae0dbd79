"""Faster forms as operators of ``torch.library``, which PyTorch's compiler keeps."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

HAS_LIBRARY = hasattr(torch.library, 'register_autograd')  # torch 2.4


def operator(fake: Callable, setup: Callable | None = None,
             backward: Callable | None = None) -> Callable[[Callable], Callable]:
    """Make ``torch.ops.mmfastvit.NAME`` of a function, where torch is new enough.

    Args:
        fake: Takes the same arguments, and returns empty tensors of the same shapes,
            dtypes and strides as the function.
        setup: Saves for ``backward``: ctx, inputs and output; None where there is no
            gradient.
        backward: From ctx and the gradients of the outputs to those of the inputs, by
            operators that the compiler knows.

    Example:
        >>> @operator(fake=lambda x: torch.empty_like(x))
        ... def double(x: Tensor) -> Tensor:
        ...     return 2 * x
    """
    def register(function: Callable) -> Callable:
        if not HAS_LIBRARY:
            return function
        made = torch.library.custom_op(f'mmfastvit::{function.__name__}',
                                       mutates_args=())(function)
        made.register_fake(fake)
        if backward is not None:
            made.register_autograd(backward, setup_context=setup)
        return made
    return register


def empty_gradients(grad: Tensor, x: Tensor, kernel: Tensor, needed: Sequence[bool]
                    ) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a convolution's operator returns as gradients, without numbers.

    Those of the map ``x``, in channels_last, of the kernel and of the bias; of those
    that are not needed, nothing. Each is a tensor of its own, as operators have to
    return them.
    """
    of_x, of_kernel, of_bias = (
        torch.empty_like(like, memory_format=layout) if wanted else grad.new_empty(0)
        for like, layout, wanted in zip(
            (x, kernel, kernel[:, 0, 0, 0]),
            (torch.channels_last, torch.contiguous_format, torch.contiguous_format),
            needed))
    return of_x, of_kernel, of_bias
