"""What comes of inputs that nobody has vouched for."""
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from robustness.__main__ import KINDS
from robustness.case import (
    CRASH,
    EQUAL,
    EXECUTED,
    HANG,
    MEMORY,
    OUTCOMES,
    POOR,
    REFUSED,
    SILENT,
    TRACEBACK,
)
from robustness.run import Result
from robustness.table import failures, table

NEVER = (EXECUTED, HANG, MEMORY, CRASH, SILENT, POOR)
SEED = os.environ.get('MMFASTVIT_ROBUSTNESS_SEED', '0')
COUNT = os.environ.get('MMFASTVIT_ROBUSTNESS_COUNT')
OUT = os.environ.get('MMFASTVIT_ROBUSTNESS_OUT')  # for tables and results
LIBRARIES = 'onnx', 'onnxruntime', 'openvino'  # of the kinds with exported files


def collect(kind: str, folder: Path) -> list[Result]:
    """Run inputs in another process, which forks for each."""
    paths = [str(ROOT / 'tests'), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1',
                   'PYTHONPATH': os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, '-m', 'robustness', kind, '--seed', SEED, '--out', folder,
         *(['--count', COUNT] if COUNT else [])], cwd=ROOT, env=environment,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    return [Result(**json.loads(line))
            for line in (folder / f'{kind}.jsonl').read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'wait4'), reason='needs to fork')
@pytest.mark.parametrize('kind', KINDS)
def test_outcomes(kind, tmp_path, record_property):
    if kind in ('exported', 'command_lines'):
        for library in LIBRARIES:
            pytest.importorskip(library)
    results = collect(kind, Path(OUT, kind).resolve() if OUT else tmp_path)
    text = f'{table({kind: results})}\n\n{failures({kind: results})}'
    record_property('robustness', text)
    counts = Counter(result.outcome for result in results)
    assert set(counts) <= set(OUTCOMES)
    # An adversary whose inputs are all refused, or none, would show little.
    assert COUNT or counts[REFUSED] and counts[EQUAL]
    assert not [outcome for outcome in NEVER if counts[outcome]], text
    assert counts[TRACEBACK] <= len(results) / 100, text


def test_the_table_counts():
    results = [Result(0, 'flip', REFUSED, ''), Result(1, 'flip', HANG, 'why'),
               Result(2, 'cut', REFUSED, '')]
    lines = table({'files': results}).splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert dict(zip(cells[0], cells[2])) == {
        **dict.fromkeys(OUTCOMES, ''), 'kind': 'all', 'damage': '', 'inputs': '3',
        REFUSED: '2', HANG: '1'}
    assert [row[1] for row in cells[4:]] == ['flip', 'cut']
    assert 'why' in failures({'files': results})
