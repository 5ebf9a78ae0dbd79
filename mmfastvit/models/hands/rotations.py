"""Rotations as matrices, from fewer numbers, without a branch on their values."""
import torch
import torch.nn.functional as F
from torch import Tensor


def from_axis_angle(vectors: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of axis times angle (..., 3), in radians.

    Rodrigues' formula, I + sin(a) K + (1 - cos(a)) K^2, where K is the axis as a
    cross product.
    """
    # So that no angle divides by zero, and the gradient at zero is the formula's limit.
    angle = torch.sqrt(vectors.square().sum(-1, keepdim=True) + 1e-24)
    x, y, z = (vectors / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(
        -1, (3, 3))
    angle = angle[..., None]
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + angle.sin() * cross + (1 - angle.cos()) * cross @ cross


def from_six_numbers(numbers: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of their first two columns (..., 6).

    Those are made orthonormal by Gram and Schmidt, so that any six numbers, the two not
    in one direction, are a rotation (Zhou et al., On the Continuity of Rotation
    Representations, 2019, section 4.2.1).
    """
    first, second = numbers.unflatten(-1, (2, 3)).unbind(-2)
    first = F.normalize(first, dim=-1)
    along = (first * second).sum(-1, keepdim=True) * first
    second = F.normalize(second - along, dim=-1)
    return torch.stack([first, second, torch.cross(first, second, dim=-1)], -1)
