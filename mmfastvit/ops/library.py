"""Faster forms as operators of ``torch.library``, which PyTorch's compiler keeps."""
from collections.abc import Callable

import torch

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
