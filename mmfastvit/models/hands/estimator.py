"""A hand's mesh from one picture, as a model of MMEngine."""
from collections.abc import Sequence

import numpy as np
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from mmfastvit.utils.errors import ArgumentError

from .head import HandPrediction
from .sample import HandDataSample

STRIDE = 32  # of the last map


@MODELS.register_module()
class HandMeshEstimator(BaseModel):
    """Backbone, neck and a head for hand meshes.

    A picture shows one hand, in its middle; of any other picture, too, a hand is
    predicted. Heads tell places by the cells of maps, so that the network's input has
    sides that are multiples of 32: ``data_preprocessor.pad_size_divisor=32``.

    Args:
        backbone: Of MMEngine's registry.
        head: A :class:`HandHead`.
        neck: What takes the backbone's maps and gives one in the place of the last;
            None takes them as they are.
        data_preprocessor: MMEngine's ``ImgDataPreprocessor``.
        init_cfg: As in MMEngine.

    Raises:
        ArgumentError: Pictures of other sides came; or in training, of several sizes.
    """

    def __init__(self, backbone: dict, head: dict, neck: dict | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.head = MODELS.build(head)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (B, 3, H, W), normalised, to maps (B, C, h, w)."""
        maps = self.backbone(inputs)
        return maps if self.neck is None else (*maps[:-1], *self.neck(maps))

    def forward(self, inputs: Tensor, data_samples: Sequence[HandDataSample] = (),
                mode: str = 'tensor') -> tuple | dict | list[HandDataSample]:
        """Return what a mode wants of pictures (B, 3, H, W), normalised.

        ``'tensor'``: a tuple of ``uv``, ``joints``, ``vertices``; ``'loss'``: losses by
        name; ``'predict'``: the samples, predictions added.
        """
        if mode != 'tensor':
            check_sides(tuple(inputs.shape[2:]), data_samples, mode == 'loss')
        x = self.extract_feat(inputs)
        if mode == 'loss':
            return self.head.loss(x, data_samples)
        prediction = self.head(x)
        if mode == 'tensor':
            return tuple(prediction)
        return add_predictions(prediction, inputs.shape[2:], data_samples)


def check_sides(size: tuple[int, int], samples: Sequence[HandDataSample],
                trains: bool) -> None:
    """Refuse inputs in which shares of the sides are no places in the picture.

    Args:
        size: Height and width of the input.
        samples: Of the pictures.
        trains: Whether ``gt_uv``, shares of the picture, are compared with.

    Raises:
        ArgumentError: Of those.
    """
    if any(side % STRIDE for side in size):
        raise ArgumentError(
            f'Hand meshes of inputs of {size[0]}x{size[1]}: allowed are multiples of '
            f'{STRIDE}. Write model.data_preprocessor.pad_size_divisor={STRIDE}.')
    others = {tuple(sample.img_shape[:2]) for sample in samples
              if trains and 'img_shape' in sample} - {size}
    if others:
        raise ArgumentError(
            f'The training pictures are of {others.pop()}, the batch of {size}: cut '
            f'all to one size, a multiple of {STRIDE} (HandCrop), since joints are '
            'shares of it.')


def add_predictions(prediction: HandPrediction, size: Sequence[int],
                    samples: Sequence[HandDataSample]) -> list[HandDataSample]:
    """Return samples with what was predicted for them.

    Args:
        prediction: For B pictures.
        size: Height and width that the network was given.
        samples: B.
    """
    height, width = size
    for sample, uv, joints, vertices in zip(samples, *prediction):
        pixels = uv.detach().cpu().double().numpy() * (width, height) - 0.5
        sample.pred_uv = uv.new_tensor(sample.to_file(pixels).astype(np.float32))
        sample.pred_joints, sample.pred_vertices = joints, vertices
    return list(samples)
