"""Joints as sums of vertices."""
import numpy as np
import torch
from torch import Tensor

from .mano import VERTICES, as_freihand

# Of the vertices' mean variance. Vertices move together, so that many sums fit alike;
# this takes the smoothest, and lists rounded to 1e-6 m do not matter.
RIDGE = 1e-6
AT_A_TIME = 256  # hands, so that memory is bounded


def freihand_regressor(joint_regressor: Tensor) -> Tensor:
    """Return MANO's regressor (16, 778) as one of FreiHAND's joints (21, 778)."""
    identity = torch.eye(VERTICES, dtype=joint_regressor.dtype)
    return as_freihand(identity[None], joint_regressor[None])[0]


def fit_joint_regressor(joints: np.ndarray, vertices: np.ndarray) -> Tensor:
    """Return how joints are sums of vertices (J, V), by ridge regression.

    Each row sums to 1, so that a hand that moves takes its joints along.

    Args:
        joints: (hands, J, 3).
        vertices: (hands, V, 3).
    """
    gram = np.zeros((vertices.shape[1], vertices.shape[1]))
    moments = np.zeros((joints.shape[1], vertices.shape[1]))
    for first in range(0, len(joints), AT_A_TIME):
        some = slice(first, first + AT_A_TIME)
        middle = vertices[some].mean(1, keepdims=True, dtype=np.float64)
        own_vertices, own_joints = (  # (V, 3 hands), (J, 3 hands)
            np.concatenate(points[some] - middle, 1) for points in (vertices, joints))
        gram += own_vertices @ own_vertices.T
        moments += own_joints @ own_vertices.T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    regressor = np.linalg.solve(gram, moments.T).T
    # What is missing to 1 goes to the middle, which was taken off.
    regressor += (1 - regressor.sum(1, keepdims=True)) / vertices.shape[1]
    return torch.from_numpy(regressor.astype(np.float32))
