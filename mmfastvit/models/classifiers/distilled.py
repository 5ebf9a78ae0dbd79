"""A classifier that learns from a teacher; needs MMPretrain."""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError


@MODELS.register_module()
class DistilledImageClassifier(ImageClassifier):
    """MMPretrain's classifier with hard distillation (arXiv 2012.12877, eq. 3).

    The class that the teacher predicts for the same, augmented pictures is a
    second label. FastViT distils so (section 4.1), without a token of its own.

    The teacher is no part of the state dict, is not trained, and is not needed
    to test: a checkpoint is an ``ImageClassifier``'s.

    Args:
        teacher: Config of a classifier; its pictures are normalised as the
            student's are.
        distillation_weight: The teacher's share of the loss, ``0.5`` in both
            papers.
        **kwargs: As for ``ImageClassifier``.

    Raises:
        ArgumentError: The share is not in [0, 1].
    """

    def __init__(self, teacher: dict, distillation_weight: float = 0.5,
                 **kwargs):
        super().__init__(**kwargs)
        if not 0 <= distillation_weight <= 1:
            raise ArgumentError(f'distillation_weight={distillation_weight}: '
                                'give a share of the loss, from 0 to 1.')
        self.distillation_weight = distillation_weight
        # In a tuple, so that neither state dict nor optimiser contains it.
        self._teacher = (MODELS.build(teacher).eval().requires_grad_(False),)

    @property
    def teacher(self) -> nn.Module:
        """The teacher, in eval mode."""
        return self._teacher[0]

    def loss(self, inputs: Tensor,
             data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Return the losses for pictures (B, 3, H, W), float32.

        Returns:
            ``loss``, the head's, and ``loss_distillation``, each times its
            share.
        """
        features = self.extract_feat(inputs)
        losses = self.head.loss(features, data_samples)
        with torch.no_grad():
            labels = self.teacher.to(inputs.device)(inputs, mode='tensor').argmax(1)
        share = self.distillation_weight
        return dict(
            loss=(1 - share) * losses['loss'],
            loss_distillation=share * F.cross_entropy(self.head(features), labels))
