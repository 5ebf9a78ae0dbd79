"""Pictures of hands, changed together with their cameras and 3D points.

2D = K xyz / z holds before and after each (tests/datasets/test_hand_transforms.py).
"""
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import TRANSFORMS

from mmfastvit.models.hands.sample import HandDataSample, resize_matrix
from mmfastvit.utils.errors import ArgumentError

from .projection import project

POINTS = ('gt_joints', 'gt_vertices')
META = ('img_path', 'img_id', 'ori_shape', 'img_shape', 'scale_factor', 'warp')


@TRANSFORMS.register_module()
class HandCrop:
    """Cut a square, turned, scaled and moved at random, and resize it.

    The picture turns about the square's middle, the hand about the camera's axis by the
    same angle. K's principal point moves, so that the hand needs no other change.

    Args:
        size: Side of what is cut, in pixels, after it was resized.
        around: ``'joints'``, the square around the projected joints, which a data set
            alone knows; or ``'picture'``.
        scale: Least and largest side of the square, in sides of that.
        shift: How far it moves in each direction at most, in its sides.
        rotation: By how many degrees it turns at most, either way.

    Raises:
        ArgumentError: ``around`` or ``scale`` is none of those, or a picture without
            joints came.
    """

    def __init__(self, size: int, around: str = 'picture',
                 scale: Sequence[float] = (1., 1.), shift: float = 0.,
                 rotation: float = 0.):
        if around not in ('joints', 'picture'):
            raise ArgumentError(f'around={around!r}: allowed are joints and picture.')
        if not 0 < scale[0] <= scale[1]:
            raise ArgumentError(f'scale={scale}: give the least and the largest, both '
                                'above 0.')
        self.size, self.around, self.scale = size, around, tuple(scale)
        self.shift, self.rotation = shift, rotation

    def __call__(self, results: dict) -> dict:
        """Change ``img``, ``K`` and the points."""
        _fold_resize(results)
        middle, side = self._square(results)
        side = side * np.random.uniform(*self.scale)
        middle = middle + side * np.random.uniform(-self.shift, self.shift, 2)
        angle = np.deg2rad(np.random.uniform(-self.rotation, self.rotation))
        turn = np.array([[np.cos(angle), -np.sin(angle), 0],
                         [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        # From the square's middle to the middle of the first to the last pixel.
        warp = (_move((self.size - 1) / 2, (self.size - 1) / 2)
                @ np.diag([self.size / side, self.size / side, 1]) @ turn
                @ _move(*-middle))
        results['img'] = cv2.warpAffine(
            results['img'], warp[:2], (self.size, self.size))
        results['img_shape'] = (self.size, self.size)
        _note(results, warp)
        if 'K' in results:
            results['K'] = (warp @ results['K'] @ turn.T).astype(np.float32)
        for name in POINTS:
            if name in results:
                results[name] = (results[name] @ turn.T).astype(np.float32)
        return results

    def _square(self, results: dict) -> tuple[np.ndarray, float]:
        """Return the middle, x and y, and the side of what is cut without chance."""
        if self.around == 'picture':
            height, width = results['img'].shape[:2]
            return np.array([width - 1, height - 1]) / 2, max(height, width)
        if 'gt_joints' not in results:
            raise ArgumentError(
                f'{results.get("img_path")} has no joints, around which it could be '
                "cut. Write around='picture', with the hand in the picture's middle.")
        pixels = project(results['K'], results['gt_joints'])
        low, high = pixels.min(0), pixels.max(0)
        return (low + high) / 2, max((high - low).max(), 1.)


@TRANSFORMS.register_module()
class HandFlip:
    """Mirror pictures left to right, so that right hands become left ones.

    Args:
        prob: How often, 0 to 1.
    """

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def __call__(self, results: dict) -> dict:
        """Change ``img``, ``K`` and the points."""
        if np.random.uniform() >= self.prob:
            return results
        _fold_resize(results)
        results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
        mirror = np.diag([-1., 1., 1.])
        warp = _move(results['img'].shape[1] - 1, 0) @ mirror
        _note(results, warp)
        if 'K' in results:
            results['K'] = (warp @ results['K'] @ mirror).astype(np.float32)
        for name in POINTS:
            if name in results:
                results[name] = (results[name] @ mirror).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class PackHandInputs:
    """Make what the model takes: ``inputs`` (3, H, W) uint8, and a ``HandDataSample``.

    Without annotations, as of a photograph, the sample has its metadata alone.
    """

    def __call__(self, results: dict) -> dict[str, Any]:
        """Return ``inputs`` and ``data_samples``."""
        picture = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        sample = HandDataSample(metainfo={name: results[name] for name in META
                                          if name in results})
        for name in ('K', *POINTS):
            if name in results:
                sample.set_field(torch.from_numpy(results[name]), name)
        if 'gt_joints' in results:
            camera = resize_matrix(results.get('scale_factor', (1, 1))) @ results['K']
            pixels = project(camera, results['gt_joints'])
            shares = (pixels + 0.5) / picture.shape[:0:-1]
            sample.gt_uv = torch.from_numpy(shares.astype(np.float32))
        return dict(inputs=torch.from_numpy(picture), data_samples=sample)


def _move(x: float, y: float) -> np.ndarray:
    return np.array([[1., 0., x], [0., 1., y], [0., 0., 1.]])


def _fold_resize(results: dict) -> None:
    """Put into ``K`` and ``warp`` what MMCV's ``Resize``, without cameras, did."""
    scale = results.pop('scale_factor', None)
    if scale is not None:
        resize = resize_matrix(scale)
        _note(results, resize)
        if 'K' in results:
            results['K'] = (resize @ results['K']).astype(np.float32)


def _note(results: dict, warp: np.ndarray) -> None:
    """Take down what became of the file's pixels, (3, 3)."""
    results['warp'] = warp @ results.get('warp', np.eye(3))
