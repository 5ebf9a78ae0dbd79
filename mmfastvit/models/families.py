"""The families: whose variants tools know by name."""
from collections.abc import Callable, Iterator, Mapping
from inspect import signature

from torch import nn

from mmfastvit.checkpoints.published import Publications, Published
from mmfastvit.utils.errors import ArgumentError

from .backbone import Backbone
from .fastervit import FasterViT
from .fastvit import FastViT, FastViTNeck

CLASSES = 1000  # of ImageNet-1k


def _fastvit_end(backbone: FastViT) -> nn.Module:
    channels, dims = backbone.out_channels[-1], backbone.variant.embedding_dims
    neck = FastViTNeck(channels, embedding_dims=dims)
    head = nn.Identity() if dims else nn.Linear(neck.out_channels, CLASSES)
    return nn.Sequential(neck, _First(), head)


def _fastervit_end(backbone: FasterViT) -> nn.Module:
    channels = backbone.out_channels[-1]
    return nn.Sequential(nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(channels, CLASSES))


class _First(nn.Module):

    def forward(self, x):
        return x[0]


# What the published networks have after their last map, down to 1000 classes or the
# image's embedding.
FAMILIES: Mapping[type[Backbone], Callable[[Backbone], nn.Module]] = {
    FastViT: _fastvit_end, FasterViT: _fastervit_end}


def find_family(name: str) -> type[Backbone] | None:
    """Return the family whose class has a name, if there is one."""
    return next((family for family in FAMILIES if family.__name__ == name), None)


def default_arch(family: type[Backbone]) -> str:
    """Return the variant that a family builds when a config names none."""
    return signature(family).parameters['arch'].default


def all_variants() -> list[str]:
    """Return names that :func:`find_variant` takes, one for each variant.

    FastViT's are as short as they always were; those of others begin with the family.
    """
    return [arch if family is FastViT else f'{family.__name__.lower()}_{arch}'
            for family in FAMILIES for arch in family.weights_class.variants]


def find_variant(name: str) -> tuple[type[Backbone], str]:
    """Return the family and ``arch`` of a name, ``'sa12'`` or ``'fastervit_0'``.

    Raises:
        ArgumentError: There is none.
    """
    for family in FAMILIES:
        prefix = f'{family.__name__.lower()}_'
        arch = name.lower().removeprefix(prefix)
        if arch in family.weights_class.variants and (
                family is FastViT or name.lower().startswith(prefix)):
            return family, arch
    raise ArgumentError(f'{name!r} is no variant and no config; the variants are '
                        f'{", ".join(all_variants())}.')


def find_published(source: str) -> Published | None:
    """Return the row of published weights that ``source`` names, if it does."""
    for publications in _publications():
        if source.partition('#')[0] in publications.rows:
            return publications.rows[source.partition('#')[0]]
    return None


def locate_file(source: str) -> str:
    """Return the address of published weights; any other source as it is.

    Raises:
        CheckpointError: Nothing is published under that name, or more than one file.
    """
    for publications in _publications():
        source = publications.locate_file(source)
    return source


def _publications() -> Iterator[Publications]:
    return (family.weights_class.published for family in FAMILIES)
