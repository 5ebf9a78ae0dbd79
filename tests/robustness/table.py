"""The table of outcomes, in Markdown."""
from collections import Counter
from collections.abc import Iterable

from mmfastvit.utils.tables import markdown

from .case import EQUAL, OUTCOMES, REFUSED, UNTOLD
from .run import Result

FINE = (EQUAL, REFUSED, UNTOLD)


def table(results: dict[str, list[Result]]) -> str:
    """Return how often each outcome came, by kind of input and damage."""
    rows = [_row('all', '', [result for found in results.values()
                             for result in found])]
    for kind, found in results.items():
        rows.append(_row(kind, 'all', found))
        for damage in dict.fromkeys(result.damage for result in found):
            rows.append(_row('', damage, [result for result in found
                                          if result.damage == damage]))
    return markdown(['kind', 'damage', 'inputs', *OUTCOMES], rows)


def failures(results: dict[str, list[Result]], each: int = 3) -> str:
    """Return what went wrong, the first few of each damage and outcome."""
    lines = []
    for kind, found in results.items():
        lines.append(f'## {kind}')
        seen = Counter()
        for result in found:
            group = result.damage, result.outcome
            seen[group] += 1
            if result.outcome in FINE or seen[group] > each:
                continue
            words = ' '.join(result.words.split())[:400]
            lines.append(f'- {result.index} {result.damage}: **{result.outcome}** '
                         f'{words}')
    return '\n'.join(lines)


def _row(kind: str, damage: str, results: Iterable[Result]) -> list[str]:
    counts = Counter(result.outcome for result in results)
    return [kind, damage, str(counts.total()),
            *(str(counts[outcome] or '') for outcome in OUTCOMES)]
