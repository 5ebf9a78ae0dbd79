"""Learning curves from the scalars that MMEngine's LocalVisBackend writes."""
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

from matplotlib.figure import Figure

from mmfastvit.utils.errors import ArgumentError, DataError
from mmfastvit.utils.files import check_targets, whole_file

SCALARS = Path('vis_data', 'scalars.json')
_NO_CURVES = {'epoch', 'iter', 'step', 'time', 'data_time', 'memory', 'base_lr'}
_COLUMNS = 4


@dataclass
class Curve:
    """One scalar of one run.

    Attributes:
        unit: What x counts, ``'iteration'`` or ``'epoch'``.
        points: Value at each x, in ascending order of x.
    """

    unit: str
    points: dict[int, float] = field(default_factory=dict)


def read_curves(run: str) -> dict[str, Curve]:
    """Return every curve of a run, by the scalar's name.

    Where training was resumed, or started anew in the same directory, a later
    start replaces what the earlier one logged from that point on.

    Args:
        run: A work directory, or one ``scalars.json``.

    Raises:
        DataError: There are no scalars, or a file is damaged.
    """
    curves: dict[str, Curve] = {}
    for file in _files(run):
        for name, curve in _read_start(file).items():
            if name in curves:
                first = min(curve.points)
                earlier = curves[name].points.items()
                curve.points = {x: y for x, y in earlier if x < first} \
                    | curve.points
            curves[name] = curve
    if not curves:
        raise DataError(
            f'{run} holds no scalars of a training run. Give a work directory '
            f'with TIME/{SCALARS}, which MMEngine writes while training, or '
            'one such file.')
    return curves


def plot_runs(runs: Sequence[str], out: str,
              names: Sequence[str] | None = None) -> Path:
    """Draw the curves of several runs into one PNG, a panel for each scalar.

    Args:
        runs: Work directories, or ``scalars.json`` files.
        out: File to write.
        names: Scalars to draw; by default all losses, accuracies, learning
            rates and metrics.

    Returns:
        ``out`` as a path.

    Raises:
        ArgumentError: No run has a scalar of that name, or ``out`` is one of them.
        DataError: A run holds no scalars, or a file is damaged.
    """
    sources = [file for run in runs for file in _files(run)]
    check_targets([out], sources)
    curves = {run: read_curves(run) for run in runs}
    units = {name: curve.unit
             for found in curves.values() for name, curve in found.items()}
    known = sorted(units, key=lambda name: (
        'loss' not in name, name != 'lr', units[name] == 'epoch', name))
    unknown = [name for name in names or () if name not in units]
    if unknown:
        raise ArgumentError(f'no run has a scalar {", ".join(unknown)}; they '
                            f'have {", ".join(known)}.')
    names = list(names or known)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure((4 * columns, 3 * rows + 0.5), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False).flat
    lines = {}
    for name, panel in zip(names, panels):
        panel.set(title=name, xlabel=units[name])
        for i, (run, found) in enumerate(curves.items()):
            if name in found:
                lines[run], = panel.plot(*zip(*found[name].points.items()),
                                         f'C{i}.-')
        panel.xaxis.get_major_locator().set_params(
            integer=True, min_n_ticks=1)
    for panel in panels[len(names):]:
        panel.remove()
    figure.legend(lines.values(), lines, loc='outside upper left')
    with whole_file(out, sources=sources) as unfinished:
        figure.savefig(unfinished, format='png')
    return Path(out)


def _files(run: str) -> list[Path]:
    """Return the scalars of a run: a folder for each start, in order of its time."""
    path = Path(run)
    return [path] if path.is_file() else sorted(path.glob(f'*/{SCALARS}'))


def _read_start(file: Path) -> dict[str, Curve]:
    """Return the curves of one start of training."""
    curves: dict[str, Curve] = {}
    evaluation = 'iteration'
    for row in _rows(file):
        if 'epoch' in row:
            evaluation = 'epoch'
        unit = 'iteration' if 'iter' in row else evaluation
        for name, value in row.items():
            if name not in _NO_CURVES and isinstance(value, Real):
                curves.setdefault(name, Curve(unit)).points[row['step']] = value
    return curves


def _rows(file: Path) -> Iterator[dict]:
    text = file.read_text(encoding='utf-8', errors='replace')
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            row['step'] + 0
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{file}, line {number}, is no row of scalars. Remove the '
                'line, or give another run.') from error
        yield row
