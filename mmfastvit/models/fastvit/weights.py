"""What the loader asks of FastViT: addresses, key names, and what a file holds."""
from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.utils.errors import CheckpointError

from .key_names import convert
from .variants import VARIANTS

if TYPE_CHECKING:
    from .backbone import FastViT

# Apple's ImageNet-1k weights in train form; the names are for configs.
PUBLISHED = {
    f'apple://{name}': 'https://docs-assets.developer.apple.com/ml-research/'
    f'models/fastvit/{folder}/fastvit_{{arch}}.pth.tar'
    for name, folder in (
        ('in1k', 'image_classification_models'),
        ('in1k_distilled', 'image_classification_distilled_models'))}


# Kernels that see the image, of a train form or a deploy form.
_STEM = ('stem.0.convs.0.conv.weight', 'stem.0.convs.1.conv.weight',
         'stem.0.fused.weight')


class FastViTWeights:
    """:class:`mmfastvit.checkpoints.family.Weights` of a FastViT."""

    def __init__(self, model: FastViT):
        self.model = model

    def locate(self, source: str) -> str:
        if not source.startswith('apple://'):
            return source
        variant = self.model.variant
        # Weights do not depend on the start value of their layer scales.
        names = [name for name, known in VARIANTS.items() if variant == replace(
            known, layer_scale_init_value=variant.layer_scale_init_value)]
        if source not in PUBLISHED or not names:
            what = source if names else f'{source} for {variant}'
            raise CheckpointError(
                f'Apple does not publish {what}; published are '
                f'{", ".join(PUBLISHED)}, each for {", ".join(VARIANTS)}.')
        return PUBLISHED[source].format(arch=names[0])

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        return convert(state_dict, prefix)

    def target(self, converted: Converted) -> nn.Module:
        if converted.fused and not self.model.deploy:
            raise CheckpointError(
                'is re-parameterized, but the network is in train form: '
                'batch norms and branches cannot be recovered. Give the unfused '
                'file (fastvit_sa12.pth.tar, not fastvit_sa12_reparam.pth.tar), '
                'or build the network with deploy=True for inference.')
        if self.model.deploy and not converted.fused:
            return self.model.train_form()
        return self.model

    def is_unused(self, name: str) -> bool:
        stages = tuple(f'stages.{i}.' for i in range(len(self.model.stages)))
        return name.startswith('out_norms.') or (
            name.startswith('stages.') and not name.startswith(stages))

    def may_stay_fresh(self, name: str) -> bool:
        return name.startswith('out_norms.')

    def adapt_input(self, weights: StateDict) -> StateDict:
        own = self.model.in_channels
        return {name: adapt_kernel(weights[name], own) for name in _STEM
                if name in weights and weights[name].ndim == 4
                and weights[name].shape[1] not in (0, own)}

    def explain_misfit(self, weights: StateDict, expected: StateDict) -> str:
        names = name_variant(weights), name_variant(expected)
        if names[0] != names[1]:
            return (f'the file holds {names[0]}, the network is {names[1]}: change '
                    'arch, or the file')
        of_file, of_network = ([state[key].shape[1] for key in _STEM if key in state]
                               for state in (weights, expected))
        if of_file and of_network and of_file[0] != of_network[0]:
            return (f'the file is for images of {of_file[0]} channels, the network '
                    f'for {of_network[0]}: change in_channels, or adapt the stem, with '
                    'adapt_input=True beside the checkpoint in init_cfg')
        return 'the file is incomplete, or its network was modified'


def adapt_kernel(kernel: Tensor, in_channels: int) -> Tensor:
    """Return a kernel for images of other channels, as timm adapts it.

    For one channel the sum over all, which sees a grey picture as it saw the same
    picture in colour; for others the old channels over and over, scaled by their
    number.

    Args:
        kernel: (out, channels, k, k).
        in_channels: Channels of the new images.
    """
    channels = kernel.shape[1]
    if in_channels == 1:
        return kernel.sum(1, keepdim=True)
    repeats = -(-in_channels // channels)
    return kernel.repeat(1, repeats, 1, 1)[:, :in_channels] * (channels / in_channels)


def name_variant(weights: StateDict) -> str:
    """Name the variant whose depths and widths a state dict has."""
    depths, widths, ratio = {}, {}, 0
    for name, value in weights.items():
        match = re.match(r'stages\.(\d+)\.blocks\.(\d+)\.ffn\.fc1\.weight', name)
        if match and value.ndim == 4:
            stage, block = map(int, match.groups())
            depths[stage] = max(depths.get(stage, 0), block + 1)
            widths[stage] = value.shape[1]
            ratio = value.shape[0] / value.shape[1]
    shape = (tuple(depths[stage] for stage in sorted(depths)),
             tuple(widths[stage] for stage in sorted(widths)), ratio)
    attends = any('.qkv.' in name for name in weights)
    for name, variant in VARIANTS.items():
        if shape == (variant.depths, variant.embed_dims, variant.mlp_ratio) \
                and attends == ('attention' in variant.token_mixers):
            return name
    return (f'a network of depths {shape[0]}, widths {shape[1]} and MLP '
            f'ratio {ratio:g}')
