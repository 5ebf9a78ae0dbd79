"""A progress bar with the time that is left."""
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar('Item')


def track(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield ``items``, showing on the error stream how far they are."""
    from rich import progress  # brought by MMEngine; here, as not all need it
    from rich.console import Console
    yield from progress.track(items, description, console=Console(stderr=True))
