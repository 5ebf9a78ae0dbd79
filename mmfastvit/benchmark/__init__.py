"""Time and memory of FastViT's forms, side by side, and beside timm's.

Every comparison is made in one run, on the same weights and inputs. The maps of
backbones are held against each other before anything is timed; for whole models
``tools/reparameterize.py`` does that.
"""
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from .contestants import Case, Contestant, backbones, whole_models
from .measure import (
    copy_bandwidth,
    floor,
    matmul_rate,
    measure,
    peak_bytes,
    saved_bytes,
)

__all__ = ['Case', 'Result', 'benchmark']


@dataclass(frozen=True)
class Result:
    """What one contestant of a case needs.

    Attributes:
        case: What was compared.
        contestant: Library, form and memory format.
        shape: Shape of the input (B, 3, H, W).
        median: Seconds for one step.
        spread: Seconds between the quartiles.
        ratio: Speed relative to the case's first contestant.
        peak_bytes: Memory a step needs at its height, over what it starts at; 0
            where PyTorch cannot see it.
        saved_bytes: What the forward pass keeps for the backward pass; 0 in
            inference.
        floor: Least seconds that the hardware allows for the convolutions and
            linear layers of the deploy form, where that is among the
            contestants.
    """

    case: Case
    contestant: str
    shape: tuple[int, ...]
    median: float
    spread: float
    ratio: float
    peak_bytes: int
    saved_bytes: int
    floor: float | None


def benchmark(case: Case, rounds: int = 10, seconds: float = 0.5
              ) -> list[Result]:
    """Run one comparison.

    Args:
        case: What to compare.
        rounds: Turns of each contestant.
        seconds: About how long a turn takes.

    Raises:
        ArgumentError: The case cannot be run, or its contestants differ.
        DataError: A config's data is missing.

    Example:
        >>> for result in benchmark(Case('t8', (256, 256), vs_timm=True)):
        ...     print(result.contestant, f'{result.ratio:.2f}x')
    """
    device = torch.device(case.device)
    if Path(case.name).suffix:
        from ..runner import load_config
        found = whole_models(case, load_config(case.name))
    else:
        found = backbones(case)
    timings = measure({c.name: c.step for c in found}, found[0].name, rounds,
                      seconds)
    least = None
    for contestant in found:
        if getattr(contestant.model, 'deploy', False):
            dtype = contestant.x.dtype
            least = floor(contestant.model, contestant.x,
                          copy_bandwidth(device, dtype), matmul_rate(device, dtype))
            break
    return [Result(case, contestant.name, tuple(contestant.x.shape),
                   **asdict(timings[contestant.name]),
                   peak_bytes=peak_bytes(contestant.step, device),
                   saved_bytes=_saved_bytes(contestant), floor=least)
            for contestant in found]


def _saved_bytes(contestant: Contestant) -> int:
    if not contestant.trains:
        return 0
    with saved_bytes(contestant.model) as saved:
        outputs = contestant.forward()
    del outputs
    return saved.total
