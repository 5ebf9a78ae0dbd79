"""The one place that decides whether PyTorch's own operators run, or faster ones."""
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial, wraps

import torch
from torch import Tensor
from torch.autograd import forward_ad

# torch 2.1 cannot tell; there, the compiler sees what eager mode runs.
_is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)
# Before torch 2.7 nothing tells what is compiled from what is exported.
_is_exporting = getattr(torch.compiler, 'is_exporting', _is_compiling)
_plain = ContextVar('plain', default=os.environ.get('MMFASTVIT_PLAIN', '0') != '0')


@contextmanager
def plain() -> Iterator[None]:
    """Let PyTorch's own operators run all functions of ``ops``.

    The environment variable ``MMFASTVIT_PLAIN=1`` does the same for a whole program.

    Example:
        >>> with ops.plain():
        ...     features = model(x)
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def runs_plain() -> bool:
    """Whether PyTorch's own operators run: on request, or because something watches.

    Compilers, exporters and tracers record operators. ``torch.func`` and forward-mode
    differentiation have rules for PyTorch's own alone.
    """
    return (_is_compiling() or torch.jit.is_tracing() or _plain.get()
            or _is_transformed() or forward_ad._current_level >= 0)


def runs_operators() -> bool:
    """Whether faster forms run as operators that PyTorch's compiler keeps.

    What is exported has to run where mmfastvit is not.
    """
    return (_is_compiling() and not torch.jit.is_tracing()
            and not _wants_plain_operators())


# The compiler cannot follow it, and takes the answer of when it compiles.
@torch.compiler.assume_constant_result
def _wants_plain_operators() -> bool:
    return (_is_exporting() or _plain.get() or _is_transformed()
            or forward_ad._current_level >= 0)


def _is_transformed() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None


Forms = list[tuple[Callable[..., bool], Callable]]  # what they take, and they


def dispatched(plain_form: Callable) -> Callable:
    """Let faster forms of a function be registered, and choose between them.

    The decorated function is the plain form: PyTorch's own operators, and what every
    other form has to equal. It stays callable as ``function.plain``.

    Example:
        >>> @dispatched
        ... def gelu(x):
        ...     return F.gelu(x)
        >>> @gelu.faster(takes=lambda x: x.device.type == 'cpu')
        ... def _gelu_on_cpus(x): ...

    ``function.compiled`` registers what runs within ``torch.compile`` instead: of
    PyTorch's own operators and those of :mod:`mmfastvit.ops.library`.
    """
    eager: Forms = []
    compiled: Forms = []

    @wraps(plain_form)
    def run(*args, **kwargs):
        if runs_operators():
            forms = compiled
        else:
            forms = () if runs_plain() else eager
        for takes, form in forms:
            if takes(*args, **kwargs):
                return form(*args, **kwargs)
        return plain_form(*args, **kwargs)

    run.plain = plain_form
    run.faster, run.compiled = partial(_into, eager), partial(_into, compiled)
    return run


def _into(forms: Forms, takes: Callable[..., bool]) -> Callable[[Callable], Callable]:
    def register(form: Callable) -> Callable:
        forms.append((takes, form))
        return form
    return register


def is_cpu(x: Tensor) -> bool:
    """Whether forms for CPUs take ``x``.

    Not under autocast, which would choose other dtypes for what a backward pass
    computes again than the forward pass had.
    """
    return x.device.type == 'cpu' and not _is_autocast()


def _is_autocast() -> bool:
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()


def twice_differentiable(backward: Callable) -> Callable:
    """Decorate the ``backward`` of an autograd function that knows its plain form.

    Where a second derivative may follow (``create_graph=True``), or many gradients
    are computed at once (``is_grads_batched=True``), that is differentiated instead.
    The function has ``inputs(ctx)``, which returns its arguments, None for what is no
    tensor, and ``plain(ctx, *inputs)``, its output by PyTorch's own operators.
    """
    @wraps(backward)
    def run(ctx, *grads):
        if not (torch.is_grad_enabled() or _is_transformed()
                or any(map(_is_batched, grads))):
            return backward(ctx, *grads)
        needed, function = ctx.needs_input_grad, ctx._forward_cls
        with torch.enable_grad(), getattr(ctx, 'autocast', nullcontext)():
            # Views, so that a gradient ends here: one input may be made of another.
            inputs = [x.view_as(x) if wanted else x
                      for x, wanted in zip(function.inputs(ctx), needed)]
            outputs = function.plain(ctx, *inputs)
        found = iter(torch.autograd.grad(
            outputs, [x for x, wanted in zip(inputs, needed) if wanted], grads,
            create_graph=torch.is_grad_enabled(), allow_unused=True))
        return tuple(next(found) if wanted else None for wanted in needed)
    return run


_BATCHED = torch._C._dispatch_key_parse('Batched')


def _is_batched(x: Tensor | None) -> bool:
    """Whether it is of is_grads_batched=True, which is older than torch.func."""
    return x is not None and torch._C._dispatch_keys(x).has(_BATCHED)


def current_autocast(x: Tensor) -> Callable[[], AbstractContextManager]:
    """Return what enters the autocast of this moment again, on the device of ``x``."""
    kind = x.device.type
    if not hasattr(torch, 'get_autocast_dtype'):  # before torch 2.4
        return nullcontext
    return partial(torch.autocast, kind, torch.get_autocast_dtype(kind),
                   torch.is_autocast_enabled(kind))
