"""FastViT as an OpenMMLab backbone."""
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfastvit.models.layers import build_norm
from mmfastvit.models.pretrained import PretrainedModule
from mmfastvit.models.reparam import reparameterizable_layers, reparameterize
from mmfastvit.utils.errors import ArgumentError

from .blocks import Stage, Stem
from .variants import resolve_arch
from .weights import FastViTWeights

DENSE_STAGES = 4  # that heads of dense prediction take, strides 4 to 32


@MODELS.register_module()
class FastViT(PretrainedModule):
    """FastViT (arXiv 2303.14189) and its later members: the maps of their stages.

    The feature of a stage is the output of its last block. (The reference
    code hands out the position encoding's output as the fourth map of SA12 to
    MA36, so that their attention blocks get no gradient.)

    For class-activation maps take a whole stage as target layer, such as
    ``backbone.stages.3``: it is there in train form and deploy form, and training.

    Args:
        arch: A name in ``VARIANTS`` or a dict with the fields of ``Variant``.
        in_channels: Channels of the image.
        out_indices: Stages, counted from 0, whose features to return; None
            takes the first four, or all where there are fewer. Stages after
            the last of them are not built. Ask for those alone that the neck
            takes: the output norm of any other gets no gradient, which
            distributed training refuses.
        out_norm_cfg: Config of a fresh norm on each output, which the
            reference adds for dense prediction; None for the bare features.
            These norms are no part of a stage: ``frozen_stages`` and
            re-parameterization leave them alone.
        frozen_stages: -1 trains everything, 0 freezes the stem, i the stem
            and the first i stages: no gradients, running statistics.
        norm_eval: Keep all batch norms on running statistics in training.
            Every layer then trains as one convolution; output norms, whose
            statistics are fresh, become learnable scales and shifts.
        norm_cfg: Config of every norm inside. Only batch norms can be
            re-parameterized.
        drop_path_rate: Stochastic depth of the last block; the rate grows
            linearly from 0 over all blocks.
        layer_scale_init_value: Start value of all layer scales; None takes
            the variant's.
        with_cp: Recompute blocks in the backward pass to save memory.
        deploy: Build the deploy form, one convolution for each layer.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes a path or
            URL of Apple's, timm's or this project's weights, or a name in
            ``PUBLISHED``, ``'apple://in1k'`` for Apple's ImageNet weights of this
            variant; with ``adapt_input=True`` also for other ``in_channels``; see
            :func:`mmfastvit.checkpoints.load.load_pretrained`.

    Attributes:
        out_channels: Channels of each returned map.
        strides: Stride of each returned map to the image.

    Raises:
        ArgumentError: An argument is out of range.

    Example:
        >>> model = FastViT('sa12')
        >>> for x in model(torch.rand(1, 3, 224, 224)):
        ...     print(tuple(x.shape))
        (1, 64, 56, 56)
        (1, 128, 28, 28)
        (1, 256, 14, 14)
        (1, 512, 7, 7)
    """

    def __init__(self,
                 arch: str | dict = 'sa12',
                 in_channels: int = 3,
                 out_indices: Sequence[int] | None = None,
                 out_norm_cfg: dict | None = dict(type='BN'),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 drop_path_rate: float = 0.,
                 layer_scale_init_value: float | None = None,
                 with_cp: bool = False,
                 deploy: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        variant = resolve_arch(arch)
        if layer_scale_init_value is not None:
            variant = replace(variant,
                              layer_scale_init_value=layer_scale_init_value)
        if in_channels < 1:
            raise ArgumentError(f'in_channels={in_channels}: give the number of '
                             'channels of your images, for example 3.')
        num_stages = len(variant.depths)
        if out_indices is None:
            out_indices = range(min(num_stages, DENSE_STAGES))
        out_indices = _check_out_indices(out_indices, num_stages)
        if frozen_stages not in range(-1, num_stages + 1):
            raise ArgumentError(
                f'frozen_stages={frozen_stages} is outside -1…{num_stages}: '
                '-1 freezes nothing, 0 the stem, i the stem and i stages.')
        if not 0 <= drop_path_rate < 1:
            raise ArgumentError(f'drop_path_rate={drop_path_rate}: give a '
                             'probability in [0, 1).')
        self.variant = variant
        self.in_channels = in_channels
        self.out_indices = out_indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.norm_cfg = norm_cfg
        self.out_norm_cfg = out_norm_cfg
        self.out_channels = tuple(variant.embed_dims[i] for i in out_indices)
        self.strides = tuple(4 * 2**i for i in out_indices)

        self.stem = Stem(in_channels, variant, norm_cfg)
        rates = torch.linspace(0, drop_path_rate, sum(variant.depths),
                               device='cpu').split(variant.depths)
        self.stages = nn.ModuleList(
            Stage(variant, i, rates[i].tolist(), norm_cfg, with_cp)
            for i in range(max(out_indices) + 1))
        self.out_norms = nn.ModuleDict()
        if out_norm_cfg is not None:
            for i, channels in zip(out_indices, self.out_channels):
                self.out_norms[str(i)] = build_norm(out_norm_cfg, channels)
        if deploy:
            self.switch_to_deploy()
        self.train()  # freezes what is to be frozen

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map an image (B, in_channels, H, W) to its feature maps.

        Returns:
            One (B, C, H/s, W/s) for each of ``out_indices``, ``C`` from
            ``out_channels``, ``s`` from ``strides``, sizes rounded up.

        Raises:
            ArgumentError: ``x`` is no such image batch, or is empty.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels or 0 in x.shape:
            raise ArgumentError(
                f'FastViT got an input of shape {tuple(x.shape)}; it takes a '
                f'non-empty (B, {self.in_channels}, H, W). Add a batch '
                'dimension with x[None], or build the backbone with the '
                'in_channels of your images.')
        x = self.stem(x)
        features = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                norm = self.out_norms[str(i)] if self.out_norms else None
                features.append(x if norm is None else norm(x))
        return tuple(features)

    @property
    def weights(self) -> FastViTWeights:
        """What the loader asks: addresses, key names, what a file holds."""
        return FastViTWeights(self)

    @property
    def deploy(self) -> bool:
        """Whether every layer is one stored operation."""
        return all(layer.fused is not None
                   for _, layer in reparameterizable_layers(self))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return how deep a parameter is, and how many depths there are.

        MMPretrain's ``LearningRateDecayOptimWrapperConstructor`` asks. The stem is
        layer 0, and each block one more; what stands before a stage's blocks belongs
        to the first of them. Output norms, and what comes after the backbone, are the
        last layer.

        Args:
            param_name: Name of a parameter of a whole model.
            prefix: What stands before the backbone's names.
        """
        depths = self.variant.depths[:len(self.stages)]
        num_layers = sum(depths) + 2
        name = param_name.removeprefix(prefix).split('.')
        if not param_name.startswith(prefix) or name[0] not in ('stem', 'stages'):
            return num_layers - 1, num_layers
        if name[0] == 'stem':
            return 0, num_layers
        stage = int(name[1])
        block = int(name[3]) if name[2] == 'blocks' else 0
        return sum(depths[:stage]) + block + 1, num_layers

    def switch_to_deploy(self) -> None:
        """Re-parameterize in place; MMPretrain and MMDeploy call this."""
        reparameterize(self, inplace=True)

    def train_form(self) -> 'FastViT':
        """Return a train form like this network, its trunk fresh.

        Its parameters are float32 or wider, for folding.
        """
        dtype = next(self.parameters()).dtype
        twin = FastViT(asdict(self.variant), self.in_channels,
                       self.out_indices, self.out_norm_cfg,
                       norm_cfg=self.norm_cfg)
        twin.out_norms.load_state_dict(self.out_norms.state_dict())
        return twin.to(torch.promote_types(dtype, torch.float32))

    def train(self, mode: bool = True) -> 'FastViT':
        """Set the mode, keeping frozen stages and, if asked, norms in eval."""
        super().train(mode)
        if self.frozen_stages >= 0:
            for part in (self.stem, *self.stages[:self.frozen_stages]):
                part.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def find_backbone(model: nn.Module) -> nn.Module:
    """Return the first FastViT in a model, wherever it is, or ``model.backbone``."""
    return next((part for part in model.modules() if isinstance(part, FastViT)),
                None) or model.backbone


def _check_out_indices(out_indices: Sequence[int], num_stages: int
                       ) -> tuple[int, ...]:
    """Return the stages as a tuple, or say what is wrong with them."""
    if isinstance(out_indices, int):
        raise ArgumentError(f'out_indices={out_indices}: give a sequence, '
                            f'({out_indices},) for this one stage.')
    indices = tuple(out_indices)
    if (not indices or len(set(indices)) != len(indices)
            or list(indices) != sorted(indices)
            or any(i not in range(num_stages) for i in indices)):
        raise ArgumentError(
            f'out_indices={indices}: give stages in ascending order, each at '
            f'most once, out of {tuple(range(num_stages))}, for example '
            f'{tuple(range(num_stages))}.')
    return indices
