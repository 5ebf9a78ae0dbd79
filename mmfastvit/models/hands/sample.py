"""What belongs to one picture of a hand."""
from collections.abc import Sequence

import numpy as np
from mmengine.structures import BaseDataElement


class HandDataSample(BaseDataElement):
    """Truth and prediction of one picture, as tensors.

    Attributes:
        K: (3, 3), the camera in pixels of the picture, as ``HandCrop`` cut it.
        gt_joints: (21, 3), in metres, in the camera's frame.
        gt_vertices: (778, 3), the same.
        gt_uv: (21, 2), x and y of the joints, as shares of the network's input: 0 is
            its left or upper edge, 1 the other.
        pred_joints: (21, 3), in metres, relative to joint 9, the middle finger's root.
        pred_vertices: (778, 3), the same.
        pred_uv: (21, 2), x and y of the joints in pixels of the file's picture.

    Metadata are ``img_path``, ``ori_shape``, ``img_shape``, ``warp`` (3, 3), which maps
    pixels of the file to those of the cut, and then MMCV's ``scale_factor``.
    """

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Return where pixels (n, 2) of the network's input are in the file."""
        resize = resize_matrix(self.get('scale_factor', (1., 1.)))
        return self.from_cut(_apply(np.linalg.inv(resize), points))

    def from_cut(self, points: np.ndarray) -> np.ndarray:
        """Return where pixels (n, 2) of what was cut are in the file."""
        return _apply(np.linalg.inv(self.get('warp', np.eye(3))), points)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def resize_matrix(scale: Sequence[float]) -> np.ndarray:
    """Return how pixels move, (3, 3), when a picture is resized.

    Args:
        scale: By how much, width and height.
    """
    x, y = scale
    # The centre of the first pixel is (0, 0), the picture's edge (-0.5, -0.5).
    return np.array([[x, 0., (x - 1) / 2], [0., y, (y - 1) / 2], [0., 0., 1.]])
