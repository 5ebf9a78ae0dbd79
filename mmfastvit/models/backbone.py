"""What all backbones share: a stem, stages of blocks, and the maps of the stages."""
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmfastvit.models.layers import build_norm
from mmfastvit.models.pretrained import PretrainedModule
from mmfastvit.models.reparam import reparameterizable_layers, reparameterize
from mmfastvit.utils.errors import ArgumentError

from .weights import BackboneWeights

DENSE_STAGES = 4  # that heads of dense prediction take, strides 4 to 32


class Backbone(PretrainedModule):
    """A stem of stride 4, and stages that each but the first halve the map.

    A family is a subclass with ``build_stem``, ``build_stage`` and ``weights_class``,
    and stages with ``blocks``. Its arguments are those of
    :class:`mmfastvit.models.fastvit.FastViT`.

    Args:
        variant: A row of the family, with ``depths`` and ``embed_dims``.

    Raises:
        ArgumentError: An argument is out of range.
    """

    weights_class: type[BackboneWeights]

    def __init__(self, variant: Any, in_channels: int,
                 out_indices: Sequence[int] | None, out_norm_cfg: dict | None,
                 frozen_stages: int, norm_eval: bool, norm_cfg: dict,
                 drop_path_rate: float, with_cp: bool, deploy: bool,
                 init_cfg: dict | None):
        super().__init__(init_cfg)
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
        self.with_cp = with_cp
        self.out_channels = tuple(variant.embed_dims[i] for i in out_indices)
        self.strides = tuple(4 * 2**i for i in out_indices)

        self.stem = self.build_stem()
        rates = torch.linspace(0, drop_path_rate, sum(variant.depths),
                               device='cpu').split(variant.depths)
        self.stages = nn.ModuleList(self.build_stage(i, rates[i].tolist())
                                    for i in range(max(out_indices) + 1))
        self.out_norms = nn.ModuleDict()
        if out_norm_cfg is not None:
            for i, channels in zip(out_indices, self.out_channels):
                self.out_norms[str(i)] = build_norm(out_norm_cfg, channels)
        if deploy:
            self.switch_to_deploy()
        self.train()  # freezes what is to be frozen

    def build_stem(self) -> nn.Module:
        """Return what maps (B, in_channels, H, W) to (B, C, H/4, W/4)."""
        raise NotImplementedError

    def build_stage(self, index: int, drop_path_rates: list[float]) -> nn.Module:
        """Return the stage of an index, from 0, one rate for each block."""
        raise NotImplementedError

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
                f'{type(self).__name__} got an input of shape {tuple(x.shape)}; it '
                f'takes a non-empty (B, {self.in_channels}, H, W). Add a batch '
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
    def general_size(self) -> tuple[int, int]:
        """Height and width from which pictures show an exporter all there is.

        It takes an axis of one for one that never grows, and equal ones for the same.
        """
        return 1, 1

    @property
    def weights(self) -> BackboneWeights:
        """What the loader asks: addresses, key names, what a file holds."""
        return self.weights_class(self)

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

    def fresh(self, family: type['Backbone']) -> 'Backbone':
        """Return a network of ``family`` like this one, in train form, its trunk fresh.

        Its parameters are float32 or wider, for folding.
        """
        dtype = next(self.parameters()).dtype
        twin = family(asdict(self.variant), self.in_channels, self.out_indices,
                      self.out_norm_cfg, norm_cfg=self.norm_cfg)
        twin.out_norms.load_state_dict(self.out_norms.state_dict())
        return twin.to(torch.promote_types(dtype, torch.float32))

    def train(self, mode: bool = True) -> 'Backbone':
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
    """Return our first backbone in a model, wherever it is, or ``model.backbone``."""
    return next((part for part in model.modules() if isinstance(part, Backbone)),
                None) or model.backbone


def run_block(block: nn.Module, with_cp: bool, *inputs: Any) -> Any:
    """Run a block of a stage.

    Args:
        with_cp: Recompute it in the backward pass instead of saving its activations.
    """
    if not (with_cp and torch.is_grad_enabled()):
        return block(*inputs)
    return checkpoint(block, *inputs, use_reentrant=False,
                      context_fn=lambda: (nullcontext(), _WithoutStatistics(block)))


class _WithoutStatistics:
    """Keeps recomputation from updating running statistics a second time.

    By a momentum of 0, so that the same tensors are saved as the first time. It may
    be entered again, for another backward pass.
    """

    def __init__(self, block: nn.Module):
        self.norms = [m for m in block.modules()
                      if isinstance(m, _BatchNorm) and m.running_mean is not None]

    def __enter__(self) -> None:
        self.kept = [(norm.momentum, norm.num_batches_tracked.clone())
                     for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.

    def __exit__(self, *error) -> None:
        for norm, (momentum, count) in zip(self.norms, self.kept):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


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
