"""What the loader asks of a backbone; a family adds its names and tables."""
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.checkpoints.key_names import KeyNames
from mmfastvit.checkpoints.published import Publications
from mmfastvit.utils.errors import CheckpointError

# Kernels that see the image, of a train form or a deploy form.
_STEM = ('stem.0.convs.0.conv.weight', 'stem.0.convs.1.conv.weight',
         'stem.0.fused.weight')


class BackboneWeights:
    """:class:`mmfastvit.checkpoints.family.Weights` of a backbone.

    Attributes:
        variants: The rows of the family, by name.
        names: Its key names.
        published: What others offer for it.
        name_variant: Names the variant of weights under our names.
        free: Fields of a variant on whose values weights do not depend.
    """

    variants: Mapping[str, Any]
    names: KeyNames
    published: Publications
    name_variant: Callable[[StateDict], str]
    free: tuple[str, ...] = ('layer_scale_init_value', )

    def __init__(self, model: nn.Module):
        self.model = model

    def archs(self) -> list[str]:
        """Return the names of the variants whose weights the backbone takes."""
        return [name for name, known in self.variants.items() if all(
            self._agree(field.name, known) for field in fields(known))]

    def _agree(self, field: str, known: Any) -> bool:
        own, other = getattr(self.model.variant, field), getattr(known, field)
        return own == other or (field in self.free and None not in (own, other))

    def locate(self, source: str) -> str:
        return self.published.locate(source, self.archs(), str(self.model.variant))

    def notice(self, source: str) -> str:
        return self.published.notice(source)

    def select(self, names: Iterable[str]) -> list[str]:
        return self.names.belonging(names)

    @classmethod
    def sort(cls, state_dict: StateDict, prefix: str | None = None) -> Converted:
        """Sort and rename a state dict, whatever the network."""
        return cls.names.sort(state_dict, prefix)

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        return self.sort(state_dict, prefix)

    def target(self, converted: Converted) -> nn.Module:
        if converted.fused and not self.model.deploy:
            raise CheckpointError(self._describe_fused())
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
        name = type(self).name_variant
        of_file, own = name(weights), self.archs() or [name(expected)]
        if of_file not in own:
            return (f'the file holds {of_file}, the network is {" or ".join(own)}: '
                    'change arch, or the file')
        channels, own_channels = (
            [state[key].shape[1] for key in _STEM if key in state]
            for state in (weights, expected))
        if channels and own_channels and channels[0] != own_channels[0]:
            return (f'the file is for images of {channels[0]} channels, the network '
                    f'for {own_channels[0]}: change in_channels, or adapt the stem, '
                    'with adapt_input=True beside the checkpoint in init_cfg')
        return 'the file is incomplete, or its network was modified'

    def _describe_fused(self) -> str:
        archs = set(self.archs())
        unfused = [name for name, row in self.published.rows.items()
                   if archs & set(row.variants) and not row.fused]
        return (
            'is re-parameterized, but the network is in train form: batch norms and '
            'branches cannot be recovered. Give unfused weights'
            + (f', such as {unfused[-1]},' if unfused else '')
            + ' or build the network with deploy=True, for inference, or to fine-tune '
            'it as the plain convolutions that it then is.')


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
