"""Time, memory, and the least time that the hardware allows."""
import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer

try:
    import resource
except ImportError:  # Windows
    resource = None

Step = Callable[[], object]


@dataclass(frozen=True)
class Turn:
    """One block of calls.

    Attributes:
        seconds: For one call, the mean.
        page_faults: For one call, how often the system had to find a page of
            memory; 0 where it does not tell (Windows).
    """

    seconds: float
    page_faults: float


@dataclass(frozen=True)
class Timing:
    """How long one call takes, from blocks of calls that took turns.

    Attributes:
        median: Seconds.
        spread: Seconds between the quartiles.
        ratio: How many times as fast as the baseline: the median over the
            rounds, each measured against its own round's baseline, so that
            other load on the machine weighs on both.
        page_faults: The median over the rounds.
    """

    median: float
    spread: float
    ratio: float
    page_faults: float


def turn(step: Step, number: int) -> Turn:
    """Call ``step`` a number of times."""
    calls = 0

    def counted() -> None:  # the timer warms up by calls of its own
        nonlocal calls
        calls += 1
        step()

    timer = Timer('step()', globals={'step': counted},
                  num_threads=torch.get_num_threads())
    before = _page_faults()
    seconds = timer.timeit(number).median
    return Turn(seconds, (_page_faults() - before) / calls)


def measure(steps: dict[str, Step], baseline: str, rounds: int = 10,
            seconds: float = 0.5) -> dict[str, Timing]:
    """Time every step, in turns (A B A B), after warming up.

    Args:
        steps: What to call, by name.
        baseline: The name that ratios are relative to.
        rounds: Turns of each.
        seconds: About how long one turn takes.
    """
    return take_turns({name: partial(turn, step) for name, step in steps.items()},
                      baseline, rounds, seconds)


def take_turns(turns: dict[str, Callable[[int], Turn]], baseline: str,
               rounds: int = 10, seconds: float = 0.5) -> dict[str, Timing]:
    """:func:`measure` what takes its turns by itself, given how many calls."""
    numbers = {}
    for name, take in turns.items():
        take(3)  # compiles, allocates
        numbers[name] = max(1, round(seconds / take(1).seconds))
    found = {name: [] for name in turns}
    for _ in range(rounds):
        for name, take in turns.items():
            found[name].append(take(numbers[name]))
    times = {name: np.array([t.seconds for t in own]) for name, own in found.items()}
    return {name: Timing(
        median=float(np.median(own)),
        spread=float(np.subtract(*np.percentile(own, [75, 25]))),
        ratio=float(np.median(times[baseline] / own)),
        page_faults=float(np.median([t.page_faults for t in found[name]])))
        for name, own in times.items()}


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


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
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    events = [event for event in record.profiler.kineto_results.events()
              if event.name() == '[memory]']
    if not events:
        return 0
    clock = 'start_ns' if hasattr(events[0], 'start_ns') else 'start_us'  # torch 2.1
    events.sort(key=lambda event: getattr(event, clock)())
    return int(max(np.cumsum([0, *(event.nbytes() for event in events)])))


def copy_bandwidth(device: torch.device, dtype: torch.dtype) -> float:
    """Return bytes read and written per second by a large copy."""
    source = torch.ones(2**26, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source))


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return multiply-accumulates per second of a large matrix product."""
    size = 8192 if device.type == 'cuda' else 1536
    a = torch.ones(size, size, dtype=dtype, device=device)
    return size**3 / _fastest(lambda: a @ a)


def floor(model: nn.Module, x: Tensor, bandwidth: float, rate: float) -> float:
    """Return the least seconds for a forward pass, layer by layer.

    Each convolution or linear layer has to read its input and its weights, to
    write its output, and to multiply; activations, residuals and attention are
    taken to cost nothing.

    Args:
        model: In deploy form.
        x: Its input.
        bandwidth: From :func:`copy_bandwidth`.
        rate: From :func:`matmul_rate`.
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
    timer = Timer('call()', globals={'call': call},
                  num_threads=torch.get_num_threads())
    return min(timer.timeit(3).median for _ in range(5))
