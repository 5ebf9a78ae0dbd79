"""MANO, a hand of 778 vertices that bends at 16 joints.

Romero, Tzionas and Black, Embodied Hands, 2017; its equations are those of SMPL (Loper
et al., 2015, section 3). The numbers of MANO are the user's own: their licence does not
let anybody pass them on.
"""
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmfastvit.checkpoints.hand_file import read_hand_file

VERTICES = 778
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# Of FreiHAND's 21 joints: which joint of MANO each is, and which vertex each tip.
FROM_JOINTS = {0: 0, 1: 13, 2: 14, 3: 15, 5: 1, 6: 2, 7: 3, 9: 4, 10: 5, 11: 6,
               13: 10, 14: 11, 15: 12, 17: 7, 18: 8, 19: 9}
FROM_VERTICES = {4: 744, 8: 320, 12: 443, 16: 555, 20: 672}


class MANONumbers(NamedTuple):
    """What a file of MANO holds.

    Attributes:
        template: (778, 3), the mean hand at rest, in metres.
        shape_directions: (778, 3, 10), what each shape parameter adds.
        pose_directions: (778, 3, 135), what each bent joint's matrix adds.
        joint_regressor: (16, 778), joints as sums of vertices.
        skinning_weights: (778, 16), how much each joint moves each vertex.
        mean_pose: (45,), added to the axis-angle pose of 15 joints.
        faces: (1538, 3), vertices of each triangle.
    """

    template: Tensor
    shape_directions: Tensor
    pose_directions: Tensor
    joint_regressor: Tensor
    skinning_weights: Tensor
    mean_pose: Tensor
    faces: Tensor


class MANO(nn.Module):
    """Vertices and joints of a hand, from its joints' rotations and its shape.

    Args:
        numbers: Of a file.

    Example:
        >>> hand = MANO(numbers)
        >>> vertices, joints = hand(torch.eye(3).expand(1, 16, 3, 3),
        ...                         torch.zeros(1, 10))
        >>> vertices.shape, joints.shape
        (torch.Size([1, 778, 3]), torch.Size([1, 21, 3]))
    """

    def __init__(self, numbers: MANONumbers):
        super().__init__()
        for name, value in numbers._asdict().items():
            # A checkpoint must not carry them.
            self.register_buffer(name, value.detach().clone(), persistent=False)

    def forward(self, rotations: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Return vertices (B, 778, 3) and FreiHAND's joints (B, 21, 3), in metres.

        Args:
            rotations: (B, 16, 3, 3), each relative to its parent's; the first turns
                the hand about its wrist.
            shape: (B, 10).
        """
        # Not torch.eye, which LiteRT lacks.
        identity = torch.tensor([[1., 0., 0.], [0., 1., 0.], [0., 0., 1.]],
                                dtype=rotations.dtype, device=rotations.device)
        at_rest = self.template + torch.einsum('vnk,bk->bvn', self.shape_directions,
                                               shape)
        joints = self.joint_regressor @ at_rest
        bends = (rotations[:, 1:] - identity).flatten(1)  # (B, 135)
        bent = at_rest + torch.einsum('vnk,bk->bvn', self.pose_directions, bends)
        turns, places = _along_chain(rotations, joints)
        # Of each vertex: the joints' transforms, weighed.
        turn = torch.einsum('vj,bjmn->bvmn', self.skinning_weights, turns)
        moved = places - (turns @ joints[..., None])[..., 0]
        vertices = (turn @ bent[..., None])[..., 0] + self.skinning_weights @ moved
        return vertices, as_freihand(vertices, places)


def _along_chain(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Return each joint's turn (B, 16, 3, 3) and place (B, 16, 3) in space."""
    turns, places = [rotations[:, 0]], [joints[:, 0]]
    for joint, parent in enumerate(PARENTS[1:], 1):
        bone = (joints[:, joint] - joints[:, parent])[..., None]
        places.append(places[parent] + (turns[parent] @ bone)[..., 0])
        turns.append(turns[parent] @ rotations[:, joint])
    return torch.stack(turns, 1), torch.stack(places, 1)


def as_freihand(vertices: Tensor, joints: Tensor) -> Tensor:
    """Return FreiHAND's 21 joints (B, 21, 3): wrist, then each finger, root to tip.

    Args:
        vertices: (B, 778, 3).
        joints: MANO's, (B, 16, 3).
    """
    return torch.stack([joints[:, FROM_JOINTS[i]] if i in FROM_JOINTS
                        else vertices[:, FROM_VERTICES[i]] for i in range(21)], 1)


def load_hand(path: str | Path) -> MANONumbers:
    """Return what a hand file holds, as :func:`.read_hand_file` says.

    Raises:
        CheckpointError: The file is missing, damaged, of a left hand, or another.
    """
    return MANONumbers(**{name: torch.from_numpy(array)
                          for name, array in read_hand_file(path).items()})
