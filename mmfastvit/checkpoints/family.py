"""What the loader asks a family of networks, and what it gets."""
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from .fit import StateDict


@dataclass(frozen=True)
class Converted:
    """A checkpoint under our names.

    Attributes:
        format: Whose key names the file uses, ``'apple'`` for example.
        owner: The same for messages, ``"Apple's"``.
        fused: Whether it is in deploy form.
        backbone: The tensors of the backbone.
        classifier: Those of neck and head, as ``neck.*`` and ``head.*``.
        ignored: Keys of neither, the other parts of a detector for example.
    """

    format: str
    owner: str
    fused: bool
    backbone: StateDict
    classifier: StateDict
    ignored: tuple[str, ...]


class Weights(Protocol):
    """What a family knows of its checkpoints; a backbone has one as ``weights``."""

    def locate(self, source: str) -> str:
        """Return the address of published weights; any other source as it is.

        Raises:
            CheckpointError: Nothing is published under that name.
        """

    def notice(self, source: str) -> str:
        """Return what a user of published weights has to know; '' if nothing."""

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the names of a file that may belong to the backbone, or its neck."""

    def convert(self, state_dict: StateDict, prefix: str | None) -> Converted:
        """Sort and rename a state dict.

        Args:
            state_dict: Names to tensors; it is not changed.
            prefix: What stands before the backbone's names; None finds out.

        Raises:
            CheckpointError: No network of this family is in it, or several are.
        """

    def target(self, converted: Converted) -> nn.Module:
        """Return the network to fill: the backbone, or a fresh train form of it.

        Raises:
            CheckpointError: The backbone cannot be made from these weights.
        """

    def is_unused(self, name: str) -> bool:
        """Whether the backbone may do without a tensor of a file."""

    def may_stay_fresh(self, name: str) -> bool:
        """Whether a file may lack a tensor of the backbone."""

    def adapt_input(self, weights: StateDict) -> StateDict:
        """Return the tensors of a file that have to change for the backbone's images.

        Those that see an image of other channels, changed.
        """

    def explain_misfit(self, weights: StateDict, expected: StateDict) -> str:
        """Return the likely cause, and what to do."""
