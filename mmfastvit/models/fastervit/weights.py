"""What the loader asks of FasterViT: addresses, names, contents."""
from dataclasses import replace

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.models.weights import BackboneWeights

from .key_names import NAMES
from .published import NVIDIA
from .variants import VARIANTS, name_variant


class FasterViTWeights(BackboneWeights):
    """:class:`mmfastvit.checkpoints.family.Weights` of a FasterViT."""

    variants, names, published = VARIANTS, NAMES, NVIDIA
    name_variant = staticmethod(name_variant)
    free = ('layer_scale_init_value', 'drop_path_rate', 'window_sizes')

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        """Sort and rename; an output norm only for a norm of its own kind."""
        found = super().convert(state_dict, prefix)
        own = self.model.state_dict()
        of_norms = [name for name in found.backbone if name.startswith('out_norms.')]
        if of_norms and not any(name.endswith('.running_mean') and name in own
                                for name in of_norms):
            backbone = {k: v for k, v in found.backbone.items() if k not in of_norms}
            return replace(found, backbone=backbone,
                           ignored=(*found.ignored, *of_norms))
        return found
