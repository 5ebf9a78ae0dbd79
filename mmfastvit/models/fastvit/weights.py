"""What the loader asks of FastViT and of its neck: addresses, names, contents."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.models.weights import BackboneWeights
from mmfastvit.utils.errors import CheckpointError

from .key_names import NAMES, convert
from .published import APPLE
from .variants import VARIANTS, name_variant

if TYPE_CHECKING:
    from .neck import FastViTNeck


class FastViTWeights(BackboneWeights):
    """:class:`mmfastvit.checkpoints.family.Weights` of a FastViT."""

    variants, names, published = VARIANTS, NAMES, APPLE
    name_variant = staticmethod(name_variant)
    sort = staticmethod(convert)


class NeckWeights:
    """:class:`mmfastvit.checkpoints.family.Weights` of a FastViTNeck."""

    def __init__(self, neck: FastViTNeck):
        self.neck = neck

    def locate(self, source: str) -> str:
        return APPLE.locate_file(source)

    def notice(self, source: str) -> str:
        return ''  # the backbone's says it

    def select(self, names: Iterable[str]) -> list[str]:
        return NAMES.belonging(names)

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
