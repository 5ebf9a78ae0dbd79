"""How a camera sees points."""
import numpy as np


def project(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the pixels (n, 2) of points (n, 3) that a camera K (3, 3) sees."""
    seen = points @ camera.T
    return seen[:, :2] / seen[:, 2:]
