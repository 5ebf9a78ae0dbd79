"""Point sets laid over each other, and how well they then meet."""
from collections.abc import Sequence

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import KDTree

MEAN_ROUNDS = 3  # after which a mean moves by less than a part in a thousand


def align(points: np.ndarray, target: np.ndarray, reflections: bool = True
          ) -> np.ndarray:
    """Move, turn and scale points (n, 3) so that they meet ``target`` (n, 3) best.

    Args:
        points: What was predicted.
        target: The truth, point by point.
        reflections: Whether they may be mirrored, too, as FreiHAND's official script
            lets them. HMR's and MMPose's alignments do not.

    Returns:
        The moved points (n, 3).
    """
    centre, of_points = target.mean(0), points.mean(0)
    wanted, moved = target - centre, points - of_points
    # The official script adds this to lengths, so that points in one place are allowed.
    length = np.linalg.norm(wanted) + 1e-8
    wanted, moved = wanted / length, moved / (np.linalg.norm(moved) + 1e-8)
    if reflections:
        rotation, scale = orthogonal_procrustes(wanted, moved)
    else:
        left, sizes, right = np.linalg.svd(wanted.T @ moved)
        sign = np.sign(np.linalg.det(left @ right))  # -1 of a reflection
        sizes[-1] *= sign
        left[:, -1] *= sign
        rotation, scale = left @ right, sizes.sum()
    return moved @ rotation.T * scale * length + centre


def f_score(points: np.ndarray, target: np.ndarray, distance: float) -> float:
    """Return how well two sets of points (n, 3) and (m, 3) cover each other.

    The harmonic mean of two shares: of the points that have a point of the target
    nearer than ``distance``, and of the target's that have one of the points (Knapitsch
    et al., Tanks and Temples, 2017). 0 where both are 0.
    """
    shares = [np.mean(KDTree(others).query(own)[0] < distance)
              for own, others in ((points, target), (target, points))]
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.


def mean_shape(shapes: Sequence[np.ndarray], reflections: bool = True) -> np.ndarray:
    """Return the mean (n, 3) of shapes (n, 3) that are aligned to it.

    Generalised Procrustes analysis (Gower, 1975), in a few rounds.
    """
    mean = shapes[0]
    for _ in range(MEAN_ROUNDS):
        mean = np.mean([align(shape, mean, reflections) for shape in shapes], 0)
    return mean
