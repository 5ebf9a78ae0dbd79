"""Files that ask for much are refused soon, in little memory, by name."""
import json
import subprocess
import sys

import hostile
import pytest

from helpers import ENVIRONMENT

SECONDS = 4  # on a slow machine; the longest takes one


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What reading each file said, and took, in a process with bounds."""
    folder = tmp_path_factory.mktemp('hostile')
    refusals = hostile.write_all(folder)
    done = subprocess.run([sys.executable, hostile.__file__, folder], env=ENVIRONMENT,
                          stdout=subprocess.PIPE, text=True, timeout=600)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()
             if line.startswith('{')]
    assert {line['name'] for line in lines} == set(refusals)
    return refusals, lines


def test_refused_with_the_reason(outcomes):
    refusals, lines = outcomes
    assert not [line for line in lines if refusals[line['name']] not in line['said']]
    assert not [line for line in lines if 'weights_only' in line['said']]
    assert not [line for line in lines if len(line['said']) > 1500]


def test_refused_soon(outcomes):
    assert not [line for line in outcomes[1] if line['seconds'] > SECONDS]
