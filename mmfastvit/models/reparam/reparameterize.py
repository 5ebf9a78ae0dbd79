"""``reparameterize``: the train form of a model becomes its deploy form."""
import copy
from collections.abc import Iterator

from torch import nn

from mmfastvit.utils.errors import ArgumentError

from .reparameterizable import Reparameterizable


def reparameterizable_layers(
        module: nn.Module, name: str = ''
) -> Iterator[tuple[str, Reparameterizable]]:
    """Yield (name, layer), outermost only: a folded layer holds no others."""
    if isinstance(module, Reparameterizable):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from reparameterizable_layers(
            child, f'{name}.{child_name}' if name else child_name)


def reparameterize(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Return ``model`` with every re-parameterizable layer folded.

    The result computes the same in eval mode (FastViT, section 3.1), without
    batch norms, layer scales or branches inside the trunk. A model that is in
    deploy form already is returned as it is, or as a copy.

    Args:
        model: A backbone, a whole detector, segmentor or classifier, or a
            single layer.
        inplace: Fold ``model`` itself instead of a deep copy.

    Raises:
        ArgumentError: There is nothing to re-parameterize, or a layer cannot be
            folded exactly; ``model`` then is unchanged.

    Example:
        >>> model = FastViT('t8').eval()
        >>> deployed = reparameterize(model)
        >>> deployed.deploy, model.deploy
        (True, False)
    """
    layers = list(reparameterizable_layers(model))
    if not layers:
        raise ArgumentError(
            f'{type(model).__name__} holds no re-parameterizable layer; '
            'give a FastViT, a model whose backbone is one, or one of the '
            'layers in mmfastvit.models.layers.')
    for name, layer in layers:
        reason = layer.why_not_foldable()
        if reason:
            raise ArgumentError(
                f'{name or type(layer).__name__} cannot be re-parameterized: '
                f'{reason}.')
    if not inplace:
        model = copy.deepcopy(model)
    for _, layer in reparameterizable_layers(model):
        layer.switch_to_deploy()
    return model
