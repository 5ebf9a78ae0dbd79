"""A mesh from MANO's few numbers: the head that FastViT's paper trains."""
from collections.abc import Sequence

import torch
from mmengine.model import trunc_normal_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmfastvit.ops import widen

from .head import LOSS_WEIGHTS, HandHead, HandPrediction, relative
from .mano import MANO, load_hand
from .rotations import from_axis_angle, from_six_numbers

ROTATIONS, SHAPES = 16, 10
# With which a hand fills about half of a square picture: widths of it for each metre.
START_SCALE = 3.


@MODELS.register_module()
class MANOHead(HandHead):
    """Pose, shape and a weak-perspective camera from the mean of a map, then MANO.

    A rotation is six numbers. (Vasu et al., FastViT, 2023, section 4.2, tells of the
    regression of MANO's numbers; how wide, and from which losses, it leaves open.)

    Args:
        in_channels: Of the last map.
        hand_file: The user's own ``MANO_RIGHT.pkl``, or the ``hand.safetensors`` of
            ``tools/generate_hands.py``. It is needed wherever the model is built; no
            checkpoint holds it.
        hidden_channels: Between the two linear maps.
        loss_weights: As for :class:`HandHead`.
        init_cfg: As in MMEngine.

    Raises:
        CheckpointError: The file is missing, damaged or another.
    """

    def __init__(self, in_channels: int, hand_file: str, hidden_channels: int = 1024,
                 loss_weights: dict[str, float] = LOSS_WEIGHTS,
                 init_cfg: dict | None = None):
        super().__init__(loss_weights, init_cfg)
        numbers = load_hand(hand_file)
        self.mano = MANO(numbers)
        self.hidden = nn.Sequential(nn.Linear(in_channels, hidden_channels), nn.GELU())
        self.pose = nn.Linear(hidden_channels, 6 * ROTATIONS)
        self.shape = nn.Linear(hidden_channels, SHAPES)
        self.camera = nn.Linear(hidden_channels, 3)
        for linear in (self.pose, self.shape, self.camera):
            trunc_normal_init(linear, std=0.01)
        mean_pose = torch.cat([torch.zeros(3), numbers.mean_pose]).view(ROTATIONS, 3)
        # Zhou's six numbers are the first two columns.
        columns = from_axis_angle(mean_pose)[..., :2].transpose(1, 2)
        with torch.no_grad():
            self.pose.bias.copy_(columns.flatten())
            self.camera.bias.copy_(torch.tensor([0., 0.5, 0.5]))

    def forward(self, x: Sequence[Tensor]) -> HandPrediction:
        """Predict for maps, the last of which is (B, C, H, W)."""
        x = x[-1]
        hidden = self.hidden(x.mean((2, 3)))
        rotations = from_six_numbers(
            widen(self.pose(hidden)).unflatten(1, (ROTATIONS, 6)))
        vertices, joints = self.mano(rotations, widen(self.shape(hidden)))
        prediction = relative(joints[..., :2], joints, vertices)
        scale, shift = widen(self.camera(hidden)).split([1, 2], 1)
        across, down = ((START_SCALE * scale.exp())[..., None]
                        * prediction.joints[..., :2]).unbind(-1)
        # Shares are of both sides, the scale is of the width.
        height, width = x.shape[2:]
        uv = torch.stack([across, down * width / height], -1) + shift[:, None]
        return prediction._replace(uv=uv)
