"""Kernels for GPUs, run by Triton's interpreter, and what is given to them."""
import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from conftest import ROOT

pytest.importorskip('triton')


def test_kernels_equal_pytorch_s_operators():
    done = subprocess.run(
        [sys.executable, ROOT / 'tests' / 'ops' / 'interpreted_kernels.py'], text=True,
        env=dict(os.environ, TRITON_INTERPRET='1'), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert 'all kernels agree' in done.stdout


LARGE_MAP = (8, 64, 128, 128)


@pytest.fixture
def gpu(monkeypatch):
    """Tensors of a GPU, which there need not be: without memory."""
    from mmfastvit.ops.triton import choice
    monkeypatch.setattr(choice, 'runs_kernels', lambda device: True)
    with FakeTensorMode():
        yield


@pytest.mark.parametrize('is_taken, shape, options', [
    (True, LARGE_MAP, {}),
    (True, LARGE_MAP, dict(dtype=torch.bfloat16)),
    (False, LARGE_MAP, dict(dtype=torch.float64)),  # kernels sum up in float32
    (False, LARGE_MAP, dict(memory_format=torch.contiguous_format)),
    (False, LARGE_MAP, dict(device='cpu')),
    (False, (1, 64, 8, 8), {}),  # launching it would take longer
])
@torch.no_grad()
def test_which_maps_go_to_kernels(is_taken, shape, options, gpu):
    from mmfastvit.ops.triton import convolution, feed_forward
    x = torch.empty(shape, **dict(
        dict(device='cuda', memory_format=torch.channels_last), **options))
    kernel, hidden = x.new_empty(64, 1, 7, 7), x.new_empty(256)
    parameters = (x.new_empty(256, 64, 1, 1), hidden,
                  x.new_empty(64, 256, 1, 1), x.new_empty(64))
    assert convolution._takes(x, kernel, None, (1, 1), (3, 3), (1, 1), 64) == is_taken
    assert feed_forward._takes(x, *parameters) == is_taken


def test_other_convolutions_stay_pytorch_s(gpu):
    from mmfastvit.ops.triton.convolution import _takes
    x = torch.empty(LARGE_MAP, device='cuda', memory_format=torch.channels_last)
    kernel = x.new_empty(64, 1, 7, 7)
    assert not _takes(x, kernel, None, (1, 1), (2, 2), (1, 1), 64)  # grows smaller
    assert not _takes(x, kernel, None, (1, 1), (6, 6), (2, 2), 64)  # dilated
    assert not _takes(x, x.new_empty(64, 2, 7, 7), None, (1, 1), (3, 3), (1, 1), 32)
    x = torch.empty((1, 64, 5800, 5800), device='cuda',  # places need 64 bits
                    memory_format=torch.channels_last)
    assert not _takes(x, kernel, None, (1, 1), (3, 3), (1, 1), 64)


def test_products_are_as_exact_as_pytorch_s(gpu, monkeypatch):
    """In float32 kernels read as many bits as cuDNN may, and in inference alone."""
    from mmfastvit.ops import pointwise
    from mmfastvit.ops.triton import feed_forward, stem
    x = torch.empty(LARGE_MAP, device='cuda', memory_format=torch.channels_last)
    kernels = x.new_empty(256, 64, 1, 1), x.new_empty(64, 256, 1, 1)
    parameters = kernels[0], x.new_empty(256), kernels[1], x.new_empty(64)
    picture = torch.empty((8, 3, 800, 1344), device='cuda')
    first = x.new_empty(64, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    stem_parameters = [first, x.new_empty(64)]
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', allowed)
        for trains in (True, False):
            with torch.set_grad_enabled(trains):
                assert feed_forward._takes(x, *parameters) == (allowed and not trains)
                assert stem._takes(picture, 'gelu', [2], stem_parameters) == (
                    allowed and not trains)
        assert not pointwise._takes(x, kernels[0])
    # What autocast is on a GPU.
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda: True)
    monkeypatch.setattr(torch, 'get_autocast_gpu_dtype', lambda: torch.bfloat16)
    assert feed_forward._takes(x, *parameters)
    assert pointwise._takes(x, kernels[0])
