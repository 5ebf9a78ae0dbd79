"""Weights that others publish: what a family says of them, one row each."""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mmfastvit.utils.errors import CheckpointError

IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


@dataclass(frozen=True)
class Published:
    """Weights under one name.

    Attributes:
        address: Of the file; ``{arch}`` stands for the variant's name.
        variants: Names of the networks that the weights fit.
        licence: Of the weights.
        restriction: What it forbids; '' if commercial use is free.
        mean: RGB, of pixels from 0 to 255, that the weights were trained with.
        std: The same.
        size: Height and width of the pictures.
        measure: What ``figures`` are.
        figures: By variant.
        source: Who measured them.
        fused: Whether the weights are re-parameterized.
    """

    address: str
    variants: tuple[str, ...]
    licence: str
    restriction: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    measure: str = ''
    figures: Mapping[str, float] = field(default_factory=dict)
    source: str = ''
    fused: bool = False


@dataclass(frozen=True)
class Publications:
    """What one publisher offers for a family.

    Attributes:
        publisher: ``'Apple'``, for example.
        scheme: How names begin, ``'apple://'``.
        rows: By name.
    """

    publisher: str
    scheme: str
    rows: Mapping[str, Published]

    def locate(self, source: str, archs: Iterable[str], network: str) -> str:
        """Return the address of published weights; any other source as it is.

        Args:
            source: A name of a row, with or without ``#…``, or any other.
            archs: The names of the network that they are for.
            network: What to call it if it has no name.

        Raises:
            CheckpointError: Nothing is published under that name, or for that network.
        """
        if not source.startswith(self.scheme):
            return source
        name, mark, fragment = source.partition('#')
        row, archs = self.rows.get(name), list(archs)
        fitting = [arch for arch in archs if row is not None and arch in row.variants]
        if not fitting:
            for_these = [other for other, known in self.rows.items()
                         if set(archs) & set(known.variants)]
            raise CheckpointError(
                f'{self.publisher} does not publish {name}'
                + (f' for {" or ".join(archs) or network}' if row else '')
                + (f'; for {" or ".join(archs)} there are {", ".join(for_these)}.'
                   if for_these else f'; published are {", ".join(self.rows)}.')
                + (f' {name} is for {", ".join(row.variants)}: change arch.' if row
                   else ''))
        return row.address.format(arch=fitting[0]) + mark + fragment

    def locate_file(self, source: str) -> str:
        """Return the address of published weights, if there is one for all networks.

        Raises:
            CheckpointError: Nothing is published under that name, or several files.
        """
        row = self.rows.get(source.partition('#')[0])
        if row is not None and '{arch}' in row.address:
            raise CheckpointError(
                f'{source} are files for several networks, and here nothing tells '
                'which: give the address of one, '
                f'{row.address.format(arch=row.variants[-1])} for example.')
        return self.locate(source, row.variants if row else (), 'this network')

    def notice(self, source: str) -> str:
        """Return one line about the licence of published weights that forbids much."""
        row = self.rows.get(source.partition('#')[0])
        if row is None or not row.restriction:
            return ''
        return f'{source}: {row.licence}: {row.restriction}.'
