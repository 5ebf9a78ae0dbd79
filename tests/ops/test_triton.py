"""Kernels for GPUs, run by Triton's interpreter."""
import os
import subprocess
import sys

import pytest

from conftest import ROOT

pytest.importorskip('triton')


def test_kernels_equal_pytorch_s_operators():
    done = subprocess.run(
        [sys.executable, ROOT / 'tests' / 'ops' / 'interpreted_kernels.py'], text=True,
        env=dict(os.environ, TRITON_INTERPRET='1'), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert 'all kernels agree' in done.stdout
