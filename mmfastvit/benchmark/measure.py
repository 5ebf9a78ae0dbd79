"""Memory, and the least time that the hardware allows."""
import copy
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from mmfastvit.utils.timing import Step, timer_of


class SavedBytes:
    """Counts what a forward pass keeps for the backward pass.

    Each storage counts once; parameters do not count.

    Attributes:
        total: Bytes.
    """

    def __init__(self, model: nn.Module):
        self.total = 0
        self._seen = {p.untyped_storage().data_ptr()
                      for p in model.parameters()}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor


@contextmanager
def saved_bytes(model: nn.Module) -> Iterator[SavedBytes]:
    """Count the bytes saved by the forward passes inside, while they live.

    Example:
        >>> with saved_bytes(model) as saved:
        ...     features = model(x)
        >>> saved.total
    """
    saved = SavedBytes(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda t: t):
        yield saved


def peak_bytes(step: Step, device: torch.device) -> int:
    """Return how much more memory a step needs at its height than before it.

    Counted from PyTorch's own record of what it allocates; 0 for what runs elsewhere.
    """
    step()
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with warnings.catch_warnings():
        # Of what it does between cycles, of which there is one.
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            step()
    events = [event for event in record.profiler.kineto_results.events()
              if event.name() == '[memory]']
    if not events:
        return 0
    clock = 'start_ns' if hasattr(events[0], 'start_ns') else 'start_us'  # torch 2.1
    events.sort(key=lambda event: getattr(event, clock)())
    return int(max(np.cumsum([0, *(event.nbytes() for event in events)])))


class Rates:
    """The fastest that a device was seen to copy and to multiply.

    Other work on the machine slows both, and a map in a cache moves faster than one in
    memory; so they are measured several times, in several sizes, and the best counts.

    Attributes:
        bandwidth: Bytes read and written per second by a copy.
        macs: Multiply-accumulates per second of a matrix product.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.options = dict(device=device, dtype=dtype)
        self.bandwidth = self.macs = 0.
        on_gpu = device.type == 'cuda'
        # Of copies, values; of products, rows. Processors without bfloat16 arithmetic
        # take seconds for larger ones.
        self.copied = [2**26] if on_gpu else [2**20, 2**22, 2**26]
        self.multiplied = [8192] if on_gpu else [512, 1024]

    def measure(self) -> None:
        """Measure once more, and keep what is faster."""
        for size in self.copied:
            source = torch.ones(size, **self.options)
            target = torch.empty_like(source)
            seconds = _fastest(lambda: target.copy_(source))  # noqa: B023
            self.bandwidth = max(self.bandwidth, 2 * source.nbytes / seconds)
        for size in self.multiplied:
            a = torch.ones(size, size, **self.options)
            self.macs = max(self.macs, size**3 / _fastest(lambda: a @ a))  # noqa: B023


def floor(model: nn.Module, x: Tensor, bandwidth: float, rate: float) -> float:
    """Return the least seconds for a forward pass, layer by layer.

    Each convolution or linear layer has to read its input and its weights, to
    write its output, and to multiply; activations, residuals and attention are
    taken to cost nothing.

    Args:
        model: In deploy form.
        x: Its input.
        bandwidth: Of :class:`Rates`.
        rate: Its ``macs``.
    """
    counter = _Layers(bandwidth, rate)
    with torch.no_grad(), counter:  # where nothing is computed
        copy.deepcopy(model).to('meta')(x.to('meta'))
    return counter.seconds


class _Layers(TorchDispatchMode):
    """Adds up what the convolutions and linear layers inside must take."""

    def __init__(self, bandwidth: float, rate: float):
        super().__init__()
        self.bandwidth, self.rate, self.seconds = bandwidth, rate, 0.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.convolution,
                                   torch.ops.aten.addmm, torch.ops.aten.mm):
            tensors = [a for a in args if isinstance(a, Tensor)]
            moved = sum(t.nbytes for t in (*tensors, out))
            weight = args[1] if out.ndim == 4 else tensors[-1].t()
            macs = out.numel() * prod(weight.shape[1:])
            self.seconds += max(moved / self.bandwidth, macs / self.rate)
        return out


def _fastest(call: Step) -> float:
    timer = timer_of(call)
    return min(timer.timeit(1).median for _ in range(5))
