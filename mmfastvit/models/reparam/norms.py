"""What the mode and class of a norm mean for folding it."""
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_batch_norm(kind: type) -> bool:
    """Tell whether a class computes as PyTorch's (synchronized) batch norm.

    Other libraries derive classes of their own from it.
    """
    return kind.forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def is_foldable(norm: nn.Module) -> bool:
    """Tell whether ``norm`` has running statistics to fold, or is folded already."""
    return (isinstance(norm, _BatchNorm) and norm.running_mean is not None
            or type(norm) is nn.Identity)


def uses_running_statistics(norm: nn.Module) -> bool:
    """Tell whether ``norm`` is, right now, a fixed affine map."""
    return is_foldable(norm) and not (norm.training and isinstance(norm, _BatchNorm))
