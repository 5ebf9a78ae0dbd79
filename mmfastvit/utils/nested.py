"""Settings inside settings."""
from collections.abc import Iterator
from typing import Any


def dicts(node: Any, place: str = '') -> Iterator[tuple[str, dict]]:
    """Yield (dotted key, dict) for every dict inside a config, outer ones first.

    Args:
        node: A dict, a list or a value; a dict may be changed when it is yielded.
        place: The dotted key of ``node``.
    """
    items = []
    if isinstance(node, dict):
        yield place, node
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(enumerate(node))
    for key, child in items:
        yield from dicts(child, f'{place}.{key}' if place else str(key))
