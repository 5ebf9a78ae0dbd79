"""What all heads for hand meshes are: one prediction, one loss."""
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from .sample import HandDataSample

ROOT = 9  # the joint that positions are relative to: the middle finger's root
LOSS_WEIGHTS = dict(uv=1., joints=10., vertices=10.)


class HandPrediction(NamedTuple):
    """What a network says of B pictures.

    Attributes:
        uv: (B, 21, 2), x and y of the joints as shares of the network's input: 0 is its
            left or upper edge, 1 the other.
        joints: (B, 21, 3), in metres, relative to the middle finger's root.
        vertices: (B, 778, 3), the same.
    """

    uv: Tensor
    joints: Tensor
    vertices: Tensor


class HandHead(BaseModule):
    """From maps (B, C, H, W) to a :class:`HandPrediction`.

    Args:
        loss_weights: Of the L1 distances of ``uv``, in shares, and of ``joints`` and
            ``vertices``, in metres.
        init_cfg: As in MMEngine.
    """

    def __init__(self, loss_weights: dict[str, float] = LOSS_WEIGHTS,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.loss_weights = dict(loss_weights)

    def forward(self, x: Sequence[Tensor]) -> HandPrediction:
        """Predict for maps (B, C, H, W), the finest first."""
        raise NotImplementedError

    def loss(self, x: Sequence[Tensor], samples: Sequence[HandDataSample]
             ) -> dict[str, Tensor]:
        """Return the weighted losses by name.

        Joints outside of the picture, whose place nobody could see, have no part in
        the losses of places.

        Args:
            x: Maps, as for :meth:`forward`.
            samples: With ``gt_uv``, ``gt_joints`` and ``gt_vertices``.
        """
        return self.weigh(distances(self(x), samples))

    def weigh(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss_*``, each times its weight."""
        return {f'loss_{name}': self.loss_weights[name] * loss
                for name, loss in losses.items()}


def stack(samples: Sequence[HandDataSample], name: str) -> Tensor:
    """Return a field of B samples as (B, ...)."""
    return torch.stack([sample.get(name) for sample in samples])


def distances(prediction: HandPrediction, samples: Sequence[HandDataSample]
              ) -> dict[str, Tensor]:
    """Return the mean L1 distances from the truth, by name."""
    uv, joints, vertices = (
        stack(samples, name) for name in ('gt_uv', 'gt_joints', 'gt_vertices'))
    root = joints[:, ROOT:ROOT + 1]
    return dict(
        uv=mean_inside((prediction.uv - uv).abs().mean(2), uv),
        joints=F.l1_loss(prediction.joints, joints - root),
        vertices=F.l1_loss(prediction.vertices, vertices - root))


def mean_inside(values: Tensor, uv: Tensor) -> Tensor:
    """Return the mean of values (B, J) of joints whose uv (B, J, 2) are inside."""
    inside = ((uv >= 0) & (uv <= 1)).all(-1)
    return (values * inside).sum() / inside.sum().clamp(min=1)


def relative(uv: Tensor, joints: Tensor, vertices: Tensor) -> HandPrediction:
    """Return a prediction, its positions relative to the middle finger's root."""
    root = joints[:, ROOT:ROOT + 1]
    return HandPrediction(uv, joints - root, vertices - root)
