"""How files name a network's tensors, and what they are called here."""
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmfastvit.utils.errors import CheckpointError

from .family import Converted
from .fit import StateDict, shorten

Rename = tuple[re.Pattern, str | Callable[[re.Match], str]]


@dataclass(frozen=True)
class KeyNames:
    """The key names of a family.

    Attributes:
        network: What the family is called in messages.
        first_key: Matches one tensor of each network in a file; its group ``prefix`` is
            what stands before all names, and of the groups named in ``owners`` one
            matches.
        owners: Whose names they are, ``dict(apple="Apple's")`` for example; ours are
            ``'mmfastvit'``, and last.
        renames: Patterns and what to put in their place, applied in this order to all
            but our own names.
        classifier: How our names begin of what comes after the backbone.
        dropped: Matches our names of tensors that carry nothing.
    """

    network: str
    first_key: re.Pattern
    owners: Mapping[str, str]
    renames: Sequence[Rename]
    classifier: tuple[str, ...]
    dropped: re.Pattern | None = None

    def belonging(self, names: Iterable[str]) -> list[str]:
        """Return the names that have the prefix of a network among them."""
        names = list(names)
        prefixes = tuple(match['prefix'] for match in map(self.first_key.match, names)
                         if match)
        return [name for name in names if name.startswith(prefixes)]

    def sort(self, state_dict: StateDict, prefix: str | None = None) -> Converted:
        """Rename a state dict, and tell backbone, classifier and others apart.

        Args:
            state_dict: Names to tensors; it is not changed.
            prefix: What stands before the backbone's names; None finds out.

        Raises:
            CheckpointError: No such network is in it, or more than one.
        """
        match = self._find(state_dict, prefix)
        own = match['mmfastvit'] is not None
        backbone, classifier, ignored = {}, {}, []
        origins = {}
        for key, value in state_dict.items():
            inside = key.startswith(match['prefix'])
            name = key[len(match['prefix']):] if inside else key
            if inside and not own:
                if self.dropped is not None and self.dropped.search(name):
                    continue
                name = self._rename(name)
            if inside and name in origins:
                raise CheckpointError(
                    f'the checkpoint names one tensor twice: {origins[name]} and {key} '
                    f'both are our {name}. Remove one of them.')
            if inside:
                origins[name] = key
            # Our own classifier keeps neck and head beside the backbone.
            if name.startswith(self.classifier) and (own or inside):
                classifier[name] = value
            elif inside:
                backbone[name] = value
            else:
                ignored.append(key)
        fmt = next(name for name in self.owners if match[name] is not None)
        return Converted(fmt, self.owners[fmt],
                         any(name.endswith('.fused.weight') for name in backbone),
                         backbone, classifier, tuple(ignored))

    def _find(self, state_dict: StateDict, prefix: str | None) -> re.Match:
        if prefix and not prefix.endswith('.'):
            prefix += '.'
        matches = [match for match in map(self.first_key.match, state_dict) if match
                   and prefix in (None, match['prefix'])]
        if len(matches) == 1:
            return matches[0]
        found = [match['prefix'] for match in matches]
        problem = (f'several {self.network}s, under {found}: say which with prefix='
                   if found else f'no {self.network} under {prefix!r}'
                   if prefix else f'no {self.network}')
        others = ', '.join(list(self.owners.values())[:-1])
        raise CheckpointError(
            f'the checkpoint holds {problem}. Known are {others} and '
            f"mmfastvit's key names; the first of its {len(state_dict)} keys "
            f'are {shorten(state_dict)}.')

    def _rename(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = pattern.sub(replacement, name)
        return name
