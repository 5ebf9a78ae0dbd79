"""A mesh from tokens that are picked where the joints are.

The idea is that of Zhou et al., A Simple Baseline for Efficient Hand Mesh
Reconstruction, CVPR 2024: 21 tokens, one a joint, become 778, one a vertex, in steps.
"""
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmfastvit.models.layers import DropPath
from mmfastvit.models.layers.attention import multi_head
from mmfastvit.ops import widen

from .head import (
    LOSS_WEIGHTS,
    ROOT,
    HandHead,
    HandPrediction,
    distances,
    mean_inside,
    relative,
    stack,
)
from .joint_regressor import fit_joint_regressor, freihand_regressor
from .mano import VERTICES, load_hand
from .sample import HandDataSample

JOINTS = 21
# Metres for each unit of what layers give: a hand is about a unit large, as their
# numbers are, and a step of the optimizer is not centimetres.
METRES = 0.1
UPSAMPLED = 4  # times the map's height and width, where tokens are picked


@MODELS.register_module()
class MeshTokenHead(HandHead):
    """Joints in the picture, tokens picked there, from them the vertices.

    The last map becomes 4 times as large, and the one of stride 8 is added. Heat maps
    of both have the joints' places as their means, ``uv`` (Sun et al., Integral Human
    Pose Regression, 2018). The maps are read there: 21 tokens, which know their place.
    Transformer blocks of falling width make more tokens of them, the last step one for
    each vertex. Vertices are the mean hand, what a perceptron makes of the joints'
    places (Martinez et al., A Simple yet Effective Baseline for 3d Human Pose
    Estimation, 2017), and what the tokens add. Joints are sums of vertices.

    ``HandStatisticsHook`` takes the mean hand from the training set.

    Args:
        in_channels: Of the last map, of stride 32.
        lateral_channels: Of the map of stride 8 that comes first; None leaves it out.
        tokens: How many there are in each block.
        token_channels: Channels in each block.
        num_heads: Of each block's attention.
        drop_path_rate: Stochastic depth of the blocks.
        hand_file: ``MANO_RIGHT.pkl`` or the generator's ``hand.safetensors``, which
            say how joints are sums of vertices. Without it, ``HandStatisticsHook``
            fits that to the training set.
        loss_weights: As for :class:`HandHead`; and of ``heat``, the cross-entropy of
            the heat maps and the cells around each joint, as bilinear weights.
        init_cfg: As in MMEngine.

    Example:
        >>> head = MeshTokenHead(1024)
        >>> head([torch.rand(2, 1024, 7, 7)]).vertices.shape
        torch.Size([2, 778, 3])
    """

    def __init__(self, in_channels: int, lateral_channels: int | None = None,
                 tokens: Sequence[int] = (21, 84, 336),
                 token_channels: Sequence[int] = (256, 128, 64), num_heads: int = 4,
                 drop_path_rate: float = 0.1, hand_file: str | None = None,
                 loss_weights: dict[str, float] = dict(LOSS_WEIGHTS, heat=0.1),
                 init_cfg: dict | None = None):
        super().__init__(loss_weights, init_cfg)
        self.upsample = nn.ConvTranspose2d(in_channels, token_channels[0], UPSAMPLED,
                                           UPSAMPLED, bias=False)
        self.lateral = (None if lateral_channels is None else
                        nn.Conv2d(lateral_channels, token_channels[0], 1, bias=False))
        self.norm = nn.BatchNorm2d(token_channels[0])
        self.heat = nn.Conv2d(token_channels[0], JOINTS, 1)
        self.place = nn.Linear(2, token_channels[0])
        self.lift = nn.Sequential(
            nn.Linear(2 * JOINTS, token_channels[0]), nn.GELU(),
            nn.Linear(token_channels[0], 3 * VERTICES, bias=False))
        nn.init.zeros_(self.lift[-1].weight)
        counts = [*tokens[1:], VERTICES]
        widths = [token_channels[0], *token_channels]
        self.steps = nn.Sequential(*(
            TokenStep(now, then, wide, narrow, num_heads, drop_path_rate)
            for now, then, wide, narrow in zip(tokens, counts, widths, token_channels)))
        self.vertices = nn.Linear(token_channels[-1], 3)
        regressor = (torch.zeros(JOINTS, VERTICES) if hand_file is None
                     else freihand_regressor(load_hand(hand_file).joint_regressor))
        # A checkpoint must not carry MANO's numbers.
        self.register_buffer('joint_regressor', regressor,
                             persistent=hand_file is None)
        self.register_buffer('mean_vertices', torch.zeros(VERTICES, 3))
        self.fits_regressor = hand_file is None

    def fit(self, joints: np.ndarray, vertices: np.ndarray) -> str:
        """Take the mean hand, and how joints are sums of vertices where no file says.

        Args:
            joints: (hands, 21, 3), in metres, of all training pictures.
            vertices: (hands, 778, 3).

        Returns:
            What to log.
        """
        mean = vertices.mean(0, dtype=np.float64) - joints[:, ROOT].mean(
            0, dtype=np.float64)
        self.mean_vertices.copy_(torch.from_numpy(mean))
        text = f'The mean hand is that of {len(joints):,} hands.'
        if self.fits_regressor:
            regressor = fit_joint_regressor(joints, vertices)
            self.joint_regressor.copy_(regressor)
            error = regressor.numpy() @ vertices - joints
            text += (' Joints, fitted as sums of vertices: '
                     f'{1000 * (error ** 2).sum(-1).mean() ** 0.5:.2f} mm off.')
        return text

    def forward(self, x: Sequence[Tensor]) -> HandPrediction:
        """Predict for maps, the first and the last of which are (B, C, H, W)."""
        return self.mesh(*self.fine_maps(x))

    def loss(self, x: Sequence[Tensor], samples: Sequence[HandDataSample]
             ) -> dict[str, Tensor]:
        """Return the weighted losses by name, as :meth:`HandHead.loss`."""
        maps, heat = self.fine_maps(x)
        losses = distances(self.mesh(maps, heat), samples)
        uv = stack(samples, 'gt_uv')
        cells = cell_weights(uv, *heat.shape[2:])
        losses['heat'] = mean_inside(
            -(cells * heat.flatten(2).log_softmax(2)).sum(2), uv)
        return self.weigh(losses)

    def fine_maps(self, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return maps of stride 8, (B, C, H, W), and heat maps (B, 21, H, W)."""
        maps = self.upsample(x[-1])
        if self.lateral is not None:
            lateral = self.lateral(x[0])
            maps = maps + lateral
        maps = F.relu(self.norm(maps))
        return maps, self.heat(maps)

    def mesh(self, maps: Tensor, heat: Tensor) -> HandPrediction:
        """Predict from what :meth:`fine_maps` returns."""
        uv = mean_places(heat)
        # Where tokens are picked, the losses of places alone decide.
        places = uv.detach()
        tokens = (pick(maps, places) + position_code(places, maps.shape[1])
                  + self.place(places - 0.5))
        # Times 4: from shares of the picture to units, of which a hand is a few wide.
        lifted = self.lift(4 * (places - 0.5).flatten(1)).unflatten(1, (VERTICES, 3))
        offsets = widen(lifted + self.vertices(self.steps(tokens)))
        vertices = self.mean_vertices + METRES * offsets
        # Not a matmul: autocast would run that in low precision.
        joints = (self.joint_regressor[..., None] * vertices[:, None]).sum(2)
        return relative(widen(uv), joints, vertices)


class TokenStep(nn.Module):
    """Places are added, a transformer block, then as many tokens as come next.

    Args:
        tokens: N.
        next_tokens: N', linear combinations of the N.
        in_channels: C.
        channels: C'.
        num_heads: Of the attention.
        drop_path_rate: Stochastic depth.
    """

    def __init__(self, tokens: int, next_tokens: int, in_channels: int, channels: int,
                 num_heads: int, drop_path_rate: float):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, tokens, in_channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.narrow = nn.Linear(in_channels, channels)
        self.head_channels = channels // num_heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(),
                                 nn.Linear(4 * channels, channels))
        self.drop_path = DropPath(drop_path_rate)
        self.more = nn.Linear(tokens, next_tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) -> (B, N', C')."""
        x = self.narrow(x + self.position)
        attended = multi_head(self.qkv(self.norm1(x)), self.head_channels)
        x = x + self.drop_path(self.proj(attended))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return self.more(x.transpose(1, 2)).transpose(1, 2)


def mean_places(heat: Tensor) -> Tensor:
    """Return the mean places (B, J, 2), as shares, of maps (B, J, H, W) of logits."""
    height, width = heat.shape[2:]
    heat_by_cell = heat.flatten(2).softmax(2).unflatten(2, (height, width))
    means = []
    for axis, side in ((2, width), (3, height)):
        cells = torch.arange(side, dtype=heat.dtype, device=heat.device)
        means.append((heat_by_cell.sum(axis) * ((cells + 0.5) / side)).sum(2))
    return torch.stack(means, 2)


def pick(maps: Tensor, places: Tensor) -> Tensor:
    """Return the bilinear values (B, N, C) of maps (B, C, H, W) at places (B, N, 2).

    What ``grid_sample`` with ``padding_mode='border'`` returns, as a matrix product,
    which every format of exported files has. Places are shares of width and height.
    """
    weights = cell_weights(places, *maps.shape[2:])
    return weights.to(maps.dtype) @ maps.flatten(2).transpose(1, 2)


def cell_weights(places: Tensor, height: int, width: int) -> Tensor:
    """Return bilinear weights (B, N, H W) of a map's cells at places (B, N, 2)."""
    weights = []
    for share, side in zip(places.unbind(-1), (width, height)):
        centre = (share * side - 0.5).clamp(0, side - 1)[..., None]
        cells = torch.arange(side, dtype=places.dtype, device=places.device)
        weights.append((1 - (centre - cells).abs()).clamp(min=0))
    columns, rows = weights
    return (rows[..., None] * columns[..., None, :]).flatten(2)


def position_code(places: Tensor, channels: int) -> Tensor:
    """Return sines and cosines (B, N, C) of places (B, N, 2), of C / 4 wavelengths.

    From 2 widths of the picture down to 1 / 64.
    """
    count = channels // 4
    exponents = torch.linspace(0, 7, count, dtype=places.dtype, device=places.device)
    angles = (torch.pi * places[..., None] * 2 ** exponents).flatten(2)
    return torch.cat([angles.sin(), angles.cos()], -1)
