"""What each function of ``ops`` brings: its faster form beside its plain one."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfastvit import ops
from mmfastvit.models.fastvit import FastViT
from mmfastvit.models.fastvit.variants import resolve_arch
from mmfastvit.utils.progress import track
from mmfastvit.utils.tables import markdown
from mmfastvit.utils.timing import measure

Call = tuple[Callable[..., Tensor], list[Tensor], tuple]


@dataclass(frozen=True)
class Gain:
    """One function, on a map of the network.

    Attributes:
        name: Of the function, and where the network calls it.
        mode: ``'inference'`` or ``'training'``, forward and backward.
        plain: Seconds of PyTorch's own operators, the median.
        fast: Seconds of what stands in for them.
        ratio: The median over the rounds of the one over the other.
    """

    name: str
    mode: str
    plain: float
    fast: float
    ratio: float


def measure_operations(arch: str = 'sa12', size: tuple[int, int] = (512, 512),
                       batch: int = 1, rounds: int = 10, seconds: float = 0.2
                       ) -> list[Gain]:
    """Time every function in both forms, in turns, on the CPU in channels_last.

    Args:
        arch: Variant, whose first and last stages give the shapes.
        size: Height and width of the pictures.
        batch: How many.
        rounds: Turns of each form.
        seconds: About how long a turn takes.
    """
    rows = [(name, mode) for mode, names in (
        ('inference', ('stem', 'gelu', 'add', 'conv2d, two outputs a channel',
                       'linear, attention', 'feed_forward')),
        ('training', ('stem', 'gelu', 'conv2d, two outputs a channel',
                      'conv2d, depthwise 7x7', 'feed_forward', 'pick', 'moments',
                      'sum_by_moments'))) for name in names]
    gains = []
    for name, mode in track(rows, 'Measuring'):
        function, tensors, options = _calls(arch, size, batch)[name]()
        steps = {form: _step(function, tensors, options, mode == 'training',
                             form == 'plain') for form in ('plain', 'fast')}
        found = measure(steps, 'plain', rounds, seconds)
        gains.append(Gain(name, mode, found['plain'].median, found['fast'].median,
                          found['fast'].ratio))
    return gains


def table(gains: Sequence[Gain]) -> str:
    """Return Markdown."""
    return markdown(
        ['function', 'mode', 'plain, ms', 'fast, ms', 'speed'],
        [[gain.name, gain.mode, f'{gain.plain * 1e3:.2f}', f'{gain.fast * 1e3:.2f}',
          f'{gain.ratio:.2f}x'] for gain in gains])


def _step(function: Callable, tensors: list[Tensor], options: tuple, trains: bool,
          plain: bool) -> Callable[[], None]:
    def call() -> None:
        if not trains:
            with torch.no_grad():
                function(*tensors, *options)
            return
        out = function(*tensors, *options)
        torch.autograd.grad(out, [x for x in tensors if x.requires_grad],
                            torch.ones_like(out))

    def call_plain() -> None:
        with ops.plain():
            call()
    return call_plain if plain else call


def _calls(arch: str, size: tuple[int, int], batch: int
           ) -> dict[str, Callable[[], Call]]:
    variant = resolve_arch(arch)
    first, last = variant.embed_dims[0], variant.embed_dims[-1]
    height, width = size[0] // 4, size[1] // 4

    def maps(channels: int, factor: float = 1.) -> Tensor:
        return torch.randn(batch, channels, int(height * factor), int(width * factor)
                           ).to(memory_format=torch.channels_last).requires_grad_()

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape).mul_(0.1).requires_grad_()

    def stem() -> Call:
        stem = FastViT(arch).stem.eval().to(memory_format=torch.channels_last)
        image = maps(3, 4).detach()
        return lambda *_: stem(image), list(stem.parameters()), ()

    def feed_forward() -> Call:
        hidden = int(first * variant.mlp_ratio)
        return ops.feed_forward, [
            maps(first), tensor(hidden, first, 1, 1), tensor(hidden),
            tensor(first, hidden, 1, 1), tensor(first)], ()

    def linear() -> Call:
        tokens = (height // 8) * (width // 8)
        return ops.linear, [tensor(batch, tokens, last), tensor(3 * last, last),
                            tensor(3 * last)], ()

    def weigh(moments, parameters):
        scales = [(var + 1).rsqrt() for _, var in moments]
        return sum(scales), scales, [mean.detach() for mean, _ in moments]

    return {
        'stem': stem,
        'gelu': lambda: (lambda x: ops.gelu(x, inplace=True), [maps(first)], ()),
        'add': lambda: (lambda x, y: ops.add(x, y, inplace=True),
                        [maps(first), maps(first)], ()),
        'conv2d, two outputs a channel': lambda: (
            ops.conv2d, [maps(first), tensor(2 * first, 1, 7, 7), tensor(2 * first)],
            ((2, 2), (3, 3), (1, 1), first)),
        'conv2d, depthwise 7x7': lambda: (
            ops.conv2d, [maps(first), tensor(first, 1, 7, 7), tensor(first)],
            ((1, 1), (3, 3), (1, 1), first)),
        'linear, attention': linear,
        'feed_forward': feed_forward,
        'pick': lambda: (ops.pick, [maps(first, 2)], ((2, 2), )),
        'moments': lambda: (lambda x: torch.cat(ops.moments(x)), [maps(first)], ()),
        'sum_by_moments': lambda: (
            lambda x, y: ops.sum_by_moments([x, y], weigh, []),
            [maps(first), maps(first)], ()),
    }
