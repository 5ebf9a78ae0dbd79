"""A classifier that learns from a teacher; needs MMPretrain."""
import torch
import torch.nn.functional as F
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmfastvit.checkpoints.fit import shorten
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.utils.errors import ArgumentError, CheckpointError


@MODELS.register_module()
class DistilledImageClassifier(ImageClassifier):
    """MMPretrain's classifier with hard distillation (arXiv 2012.12877, eq. 3).

    The class that the teacher predicts for the same, augmented pictures is a
    second label. FastViT distils so (section 4.1), without a token of its own.

    The teacher is no part of the state dict, is not trained, and is not needed
    to test: a checkpoint is an ``ImageClassifier``'s.

    Args:
        teacher: Config of a classifier; its pictures are normalised as the
            student's are. What its ``init_cfg=dict(type='Pretrained', ...)`` names
            is loaded, all of it or not at all, when MMEngine initialises the model.
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

    def init_weights(self) -> None:
        """Initialise the student, and load the teacher, which training needs.

        A teacher that asks for no checkpoint stays as it was built: timm's, for
        example, are pretrained then.

        Raises:
            CheckpointError: A checkpoint cannot be read, or does not fill the teacher.
        """
        is_first = not self.is_init
        super().init_weights()
        if not is_first:
            return
        teacher = self.teacher
        if any(_pretrained(part) for part in teacher.modules() if part is not teacher):
            teacher.init_weights()
        for cfg in _pretrained(teacher):
            _fill(teacher, cfg['checkpoint'], cfg.get('prefix'))
        teacher.eval().requires_grad_(False)

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


def _pretrained(module: nn.Module) -> list[dict]:
    """Return what ``init_cfg`` of one module says about checkpoints."""
    cfgs = getattr(module, 'init_cfg', None) or []
    return [cfg for cfg in ([cfgs] if isinstance(cfgs, dict) else cfgs)
            if cfg.get('type') in ('Pretrained', PretrainedInit)]


def _fill(teacher: nn.Module, source: str, prefix: str | None) -> None:
    """Load a whole teacher; MMEngine's own loader would skip what does not fit."""
    weights = read_state_dict(source)
    if prefix:
        prefix = prefix.removesuffix('.') + '.'
        weights = {name.removeprefix(prefix): value for name, value in weights.items()
                   if name.startswith(prefix)}
    own = {name: value.clone() for name, value in teacher.state_dict().items()}
    try:
        # By PyTorch's own: MMPretrain's classifiers rename keys as it loads.
        teacher.load_state_dict(weights)
    except RuntimeError as error:
        teacher.load_state_dict(own)
        raise CheckpointError(
            f'{source} does not fit the teacher, a {type(teacher).__name__} of '
            f'{len(own)} tensors; the file has {len(weights)}: {shorten(weights)}. '
            f'Name the checkpoint of this very classifier. {error}') from error
