"""Results as a table, as JSON and as a picture."""
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from math import prod
from pathlib import Path

import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from mmfastvit.engine.config_inheritance import CONFIGS
from mmfastvit.utils.files import whole_file
from mmfastvit.utils.tables import markdown

from .results import Result

MIB = 2**20


def machine(device: str) -> dict[str, str | int]:
    """Return what the times depend on."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == 'cuda' else _processor()
    return dict(device=name, threads=torch.get_num_threads(),
                torch=torch.__version__, python=platform.python_version(),
                date=date.today().isoformat())


def table(results: Sequence[Result]) -> str:
    """Return Markdown, the baseline of each case first."""
    header = ['case', 'contestant', 'median, ms', 'spread', 'speed', 'pictures/s',
              'page faults', 'peak, MiB', 'saved, MiB', 'time / floor']
    rows = []
    for result in results:
        size = 'x'.join(map(str, result.shape[2:]))
        case = result.case
        times = f' {case.processes} processes' if case.processes > 1 else ''
        rows.append([
            f'{Path(case.name).stem} {result.shape[0]}x{size} {case.mode} '
            f'{case.dtype}{times}', result.contestant, f'{result.median * 1e3:.1f}',
            f'{result.spread * 1e3:.1f}', f'{result.ratio:.2f}x',
            f'{result.pictures_per_second:.1f}', f'{result.page_faults:.0f}',
            f'{result.peak_bytes / MIB:.0f}' if result.peak_bytes else '',
            f'{result.saved_bytes / MIB:.1f}' if result.saved_bytes else '',
            f'{result.median / result.floor:.2f}' if result.floor else ''])
    return markdown(header, rows)


def growth(results: Sequence[Result]) -> str:
    """Return how time and memory grow with pixels, as exponents.

    1 is proportional growth. By contestant, a line fitted through the
    logarithms of at least three sizes.
    """
    import numpy as np
    lines = []
    for key in dict.fromkeys((r.case.name, r.contestant) for r in results):
        own = [r for r in results if (r.case.name, r.contestant) == key]
        pixels = np.log([prod(r.shape) for r in own])
        if len(set(pixels)) < 3:
            continue
        slopes = {name: np.polyfit(pixels, np.log(values), 1)[0]
                  for name, values in (('time', [r.median for r in own]),
                                       ('peak memory', [r.peak_bytes for r in own]))
                  if all(values)}
        lines.append(f'{" ".join(key)}: ' + ', '.join(
            f'{name} ~ pixels^{slope:.2f}' for name, slope in slopes.items()))
    return '\n'.join(lines)


def write_json(results: Sequence[Result], path: str) -> None:
    """Write the results and what they were measured on."""
    content = dict(machine=machine(results[0].case.device),
                   results=[asdict(result) for result in results])
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1))


def plot(results: Sequence[Result], path: str) -> None:
    """Draw published accuracy against time and, of several sizes, growth, as PNG.

    The accuracies are the reference's, at 256x256; the times are those of the
    smallest size that was measured.
    """
    sizes = sorted({r.shape[2:] for r in results}, key=prod)
    accuracies = _accuracies()
    known = len({r.case.name for r in results} & set(accuracies)) > 1
    grows = len(sizes) > 1 or not known
    figure = Figure((5.5 * (known + grows), 4.5), layout='constrained')
    panels = list(figure.subplots(1, known + grows, squeeze=False)[0])
    own = results[0]
    figure.suptitle(f'{own.case.mode}, batch {own.shape[0]}, {own.case.dtype}')
    if known:
        axes = panels.pop(0)
        smallest = min((r.shape[2:] for r in results if r.case.name in accuracies),
                       key=prod)  # a config's pictures may be smaller
        _plot_accuracy(axes, [r for r in results if r.shape[2:] == smallest])
        axes.set(xscale='log', ylabel='top-1, % (the reference\'s figure)',
                 xlabel='milliseconds at ' + 'x'.join(map(str, smallest)))
        _readable_ticks(axes.xaxis)
    if grows:
        _plot_growth(panels[0], results)
        panels[0].set(xscale='log', yscale='log', ylabel='milliseconds',
                      xlabel='square root of the pixels')
        _readable_ticks(panels[0].yaxis)
        sides = [prod(size) ** 0.5 for size in sizes]
        panels[0].xaxis.set_minor_locator(NullLocator())
        panels[0].set_xticks(sides, [f'{side:.0f}' for side in sides])
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format='png', dpi=120)


def _plot_accuracy(axes: Axes, results: Sequence[Result]) -> None:
    accuracies = _accuracies()
    known = [r for r in results if r.case.name in accuracies]
    for contestant in dict.fromkeys(r.contestant for r in known):
        points = sorted((r.median * 1e3, accuracies[r.case.name], r.case.name)
                        for r in known if r.contestant == contestant)
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], 'o-',
                  label=contestant)
    fastest = points  # of the last contestant, to whose points names belong
    for x, y, name in fastest:
        axes.annotate(name, (x, y), (-4, 4), textcoords='offset points', fontsize=8,
                      ha='right', va='bottom')
    axes.margins(0.08)
    axes.legend(fontsize=7, loc='lower right')


def _readable_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter('%g'))
    axis.set_minor_formatter(NullFormatter())


def _plot_growth(axes: Axes, results: Sequence[Result]) -> None:
    keys = dict.fromkeys((r.case.name, r.contestant) for r in results)
    archs = list(dict.fromkeys(name for name, _ in keys))
    contestants = list(dict.fromkeys(contestant for _, contestant in keys))
    for arch, contestant in keys:
        own = sorted((r for r in results if (r.case.name, r.contestant)
                      == (arch, contestant)), key=lambda r: prod(r.shape))
        axes.plot([prod(r.shape[2:]) ** 0.5 for r in own],
                  [r.median * 1e3 for r in own],
                  color=f'C{archs.index(arch)}',
                  marker='os^vDPX'[contestants.index(contestant) % 7],
                  linestyle='--' if contestant.startswith('timm') else '-',
                  label=f'{Path(arch).stem} {contestant}')
    if len(keys) <= 16:
        axes.legend(fontsize=6)


def _accuracies() -> dict[str, float]:
    """Return the ImageNet top-1 that the reference reports, by variant."""
    models = yaml.safe_load(
        (CONFIGS / 'fastvit' / 'metafile.yml').read_text())['Models']
    found = {}
    for model in models:
        name = model['Name'].split('_')
        for result in model['Results']:
            top1 = result['Metrics'].get('reference Top 1 Accuracy')
            if top1 and name[2:] == ['in1k']:
                found[name[1]] = top1
    return found


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':')[1].strip() for line in lines
                    if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
