"""Whether modules are what they were built as, and nobody looks inside.

A layer that runs as one operation, or overwrites a map of a part of its own, does not
call its parts as modules. Toolboxes and users replace parts (fused norms, adapters,
parametrizations) and register hooks. Where they did, layers run part by part.
"""
from functools import cache

from torch import nn
from torch.nn.modules import module as global_hooks

from .norms import is_batch_norm

_KINDS = (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.GELU, nn.ReLU, nn.ModuleList)
# What a fused norm leaves, and norms about which a layer says more itself.
_FOLDED_OR_REFUSED = (nn.Identity, nn.GroupNorm)


@cache
def _is_known(kind: type) -> bool:
    return (kind in _KINDS or is_batch_norm(kind)
            or kind.__module__.startswith('mmfastvit.models.'))


def has_intact_parts(module: nn.Module) -> bool:
    """Tell whether all modules inside compute what their classes say, unwatched.

    Hooks on ``module`` itself see what goes in and comes out in any case.
    """
    if (global_hooks._global_forward_hooks or global_hooks._global_forward_pre_hooks
            or global_hooks._global_backward_hooks
            or global_hooks._global_backward_pre_hooks):
        return False
    return all(child is None or _is_intact(child)
               for child in module._modules.values())


def _is_intact(module: nn.Module) -> bool:
    return (_is_known(type(module)) and 'forward' not in module.__dict__
            and not (module._forward_hooks or module._forward_pre_hooks
                     or module._backward_hooks or module._backward_pre_hooks)
            and not (isinstance(module, nn.Conv2d) and _pads_otherwise(module))
            and all(child is None or _is_intact(child)
                    for child in module._modules.values()))


def _pads_otherwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution pads with anything but a number of zeros."""
    return conv.padding_mode != 'zeros' or isinstance(conv.padding, str)


def describe_changed_part(module: nn.Module) -> str | None:
    """Say which module inside cannot be folded, and why; None if all can.

    A batch norm that a toolbox has fused into its convolution is an ``nn.Identity``.
    """
    for name, part in module.named_modules():
        if part is module:
            continue
        kind = type(part)
        if isinstance(part, nn.Conv2d) and _pads_otherwise(part):
            return (f'{name} pads with {part.padding_mode!r}, {part.padding!r}; only '
                    'numbers of zeros can be folded')
        if not (_is_known(kind) or kind in _FOLDED_OR_REFUSED):
            return (f'{name} is a {kind.__module__}.{kind.__name__}, which was put in '
                    'the place of what was built; take it out first (a '
                    'parametrization: torch.nn.utils.parametrize.'
                    'remove_parametrizations)')
        if ('forward' in part.__dict__ or part._forward_hooks
                or part._forward_pre_hooks):
            return (f'{name} has a hook, or a forward method of its own, which folding '
                    'would lose; remove it first (pruning: torch.nn.utils.prune.'
                    'remove, weight norm: torch.nn.utils.remove_weight_norm)')
    return None
