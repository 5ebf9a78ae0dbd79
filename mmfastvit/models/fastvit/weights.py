"""What the loader asks of FastViT and of its neck: addresses, names, contents."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.utils.errors import CheckpointError

from .key_names import belonging, convert
from .published import PUBLISHED
from .variants import VARIANTS, Variant, name_variant

if TYPE_CHECKING:
    from .backbone import FastViT
    from .neck import FastViTNeck

# Kernels that see the image, of a train form or a deploy form.
_STEM = ('stem.0.convs.0.conv.weight', 'stem.0.convs.1.conv.weight',
         'stem.0.fused.weight')


class FastViTWeights:
    """:class:`mmfastvit.checkpoints.family.Weights` of a FastViT."""

    def __init__(self, model: FastViT):
        self.model = model

    def locate(self, source: str) -> str:
        return locate(source, _names(self.model.variant), str(self.model.variant))

    def notice(self, source: str) -> str:
        return notice(source)

    def select(self, names: Iterable[str]) -> list[str]:
        return belonging(names)

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        return convert(state_dict, prefix)

    def target(self, converted: Converted) -> nn.Module:
        if converted.fused and not self.model.deploy:
            raise CheckpointError(_describe_fused(self.model.variant))
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
        of_file, own = name_variant(weights), _names(self.model.variant)
        if of_file not in own:
            return (f'the file holds {of_file}, the network is '
                    f'{" or ".join(own) or self.model.variant}: change arch, or the '
                    'file')
        channels, own_channels = (
            [state[key].shape[1] for key in _STEM if key in state]
            for state in (weights, expected))
        if channels and own_channels and channels[0] != own_channels[0]:
            return (f'the file is for images of {channels[0]} channels, the network '
                    f'for {own_channels[0]}: change in_channels, or adapt the stem, '
                    'with adapt_input=True beside the checkpoint in init_cfg')
        return 'the file is incomplete, or its network was modified'


class NeckWeights:
    """:class:`mmfastvit.checkpoints.family.Weights` of a FastViTNeck."""

    def __init__(self, neck: FastViTNeck):
        self.neck = neck

    def locate(self, source: str) -> str:
        return locate_file(source)

    def notice(self, source: str) -> str:
        return ''  # the backbone's says it

    def select(self, names: Iterable[str]) -> list[str]:
        return belonging(names)

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        found = convert(state_dict, prefix)
        own = {name.removeprefix('neck.'): value
               for name, value in found.classifier.items() if name.startswith('neck.')}
        rest = tuple(name for name in found.classifier if not name.startswith('neck.'))
        return replace(found, backbone=own, classifier={},
                       ignored=(*found.backbone, *rest, *found.ignored))

    def target(self, converted: Converted) -> nn.Module:
        if converted.fused and not self.neck.deploy:
            raise CheckpointError(
                'is re-parameterized, but the neck is in train form: build both, '
                'backbone and neck, with deploy=True, or give an unfused file.')
        if self.neck.deploy and not converted.fused:
            return self.neck.train_form()
        return self.neck

    def is_unused(self, name: str) -> bool:
        return name.startswith('proj.')

    def may_stay_fresh(self, name: str) -> bool:
        return False

    def adapt_input(self, weights: StateDict) -> StateDict:
        return {}

    def explain_misfit(self, weights: StateDict, expected: StateDict) -> str:
        if not weights:
            return 'the file holds a backbone without neck'
        return ('the file belongs to a network of other widths: change in_channels, '
                'out_channels or embedding_dims, or the file')


def locate(source: str, archs: Iterable[str], network: str) -> str:
    """Return the address of published weights; any other source as it is.

    Args:
        source: ``'apple://…'``, or any other.
        archs: The names of the network that they are for.
        network: What to call it if it has no name.

    Raises:
        CheckpointError: Nothing is published under that name, or for that network.
    """
    if not source.startswith('apple://'):
        return source
    name, mark, fragment = source.partition('#')
    row, archs = PUBLISHED.get(name), list(archs)
    fitting = [arch for arch in archs if row is not None and arch in row.variants]
    if not fitting:
        for_these = [other for other, known in PUBLISHED.items()
                     if set(archs) & set(known.variants)]
        raise CheckpointError(
            f'Apple does not publish {name}'
            + (f' for {" or ".join(archs) or network}' if row else '')
            + (f'; for {" or ".join(archs)} there are {", ".join(for_these)}.'
               if for_these else f'; published are {", ".join(PUBLISHED)}.')
            + (f' {name} is for {", ".join(row.variants)}: change arch.' if row
               else ''))
    return row.address.format(arch=fitting[0]) + mark + fragment


def locate_file(source: str) -> str:
    """Return the address of published weights, if there is one for all networks.

    Raises:
        CheckpointError: Nothing is published under that name, or more than one file.
    """
    row = PUBLISHED.get(source.partition('#')[0])
    if row is not None and '{arch}' in row.address:
        raise CheckpointError(
            f'{source} are files for several networks, and here nothing tells which: '
            f'give the address of one, {row.address.format(arch=row.variants[-1])} for '
            'example.')
    return locate(source, row.variants if row else (), 'this network')


def notice(source: str) -> str:
    """Return one line about the licence of published weights that forbids much."""
    row = PUBLISHED.get(source.partition('#')[0])
    if row is None or not row.research_only:
        return ''
    return (f'{source}: {row.licence}: for research, not for commercial use; what is '
            'trained from these weights falls under it, too.')


def _names(variant: Variant) -> list[str]:
    """Return what a variant is called; weights do not depend on its layer scales."""
    return [name for name, known in VARIANTS.items() if variant == replace(
        known, layer_scale_init_value=variant.layer_scale_init_value)]


def _describe_fused(variant: Variant) -> str:
    names = set(_names(variant))
    unfused = [name for name, row in PUBLISHED.items() if names & set(row.variants)
               and not name.startswith('apple://fastvlm')]
    return (
        'is re-parameterized, but the network is in train form: batch norms and '
        'branches cannot be recovered. Give unfused weights'
        + (f', such as {unfused[-1]},' if unfused else '')
        + ' or build the network with deploy=True, for inference, or to fine-tune it '
        'as the plain convolutions that it then is.')


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
