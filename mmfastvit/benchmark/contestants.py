"""What is compared: forms of one network, side by side with timm's."""
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.timing import Turn, turn

from .measure import Rates, floor, peak_bytes, saved_bytes

MODES = ('inference', 'frozen', 'live')
# By the form, a file's format, and its fewer bits: those of its row in FORMATS, which
# needs mmcv (guarded by tests/benchmark/test_benchmark.py).
EXPORTED: dict[str, tuple[str, str | None]] = {
    'onnxruntime': ('onnx', None), 'onnxruntime-float16': ('onnx', 'float16'),
    'onnxruntime-int8': ('onnx', 'int8'),
    'openvino': ('openvino', None), 'openvino-float16': ('openvino', 'float16'),
    'openvino-int8': ('openvino', 'int8'), 'int8': ('openvino', 'int8'),
    'ncnn': ('ncnn', None), 'ncnn-float16': ('ncnn', 'float16'),
    'executorch': ('executorch', None), 'executorch-int8': ('executorch', 'int8'),
    'litert': ('litert', None), 'litert-float16': ('litert', 'float16'),
    'litert-int8': ('litert', 'int8')}
FORMS = ('train', 'deploy', 'compiled', *EXPORTED)
MEMORY_FORMATS = {'channels_last': torch.channels_last,
                  'contiguous': torch.contiguous_format}
DTYPES = ('float32', 'bfloat16', 'float16')


@dataclass(frozen=True)
class Case:
    """One comparison: everything that its contestants share.

    Attributes:
        name: A variant, or for a whole model the path of its config.
        size: Height and width of the pictures. None takes 512x512, and of a config
            those that its pipeline makes.
        batch: How many pictures. None takes one, and in training of a config what it
            has.
        mode: ``'inference'``, or a training step (forward and backward) with
            the backbone's norms on running (``'frozen'``) or batch statistics
            (``'live'``).
        dtype: ``'float32'``, ``'bfloat16'`` or ``'float16'``; training in the
            latter two, and whole models, run under autocast.
        device: A PyTorch device.
        forms: Ours, of ``FORMS``; ``'compiled'`` is the deploy form, in
            training the train form, through ``torch.compile``; those of
            ``EXPORTED`` are the deploy form in a file.
        memory_formats: Of our forms.
        vs_timm: Whether to compare with timm, in its default memory format
            and in channels_last, and compiled or exported where ours is. A config's
            model then has timm's backbone instead of ours, on the same weights.
        checkpoint: Of a config's model, or a work directory; None takes random
            weights. With one, forms that may be shipped are judged by all test data.
        processes: How many of each contestant run at the same time, as on a server;
            they share the machine's threads. ``peak_bytes`` is then that of all.

    Raises:
        ArgumentError: A value is none of those allowed, or the device does not
            work on this machine.
    """

    name: str = 'sa12'
    size: tuple[int, int] | None = None
    batch: int | None = None
    mode: str = 'inference'
    dtype: str = 'float32'
    device: str = 'cpu'
    forms: tuple[str, ...] = ('train', 'deploy')
    memory_formats: tuple[str, ...] = ('channels_last', )
    vs_timm: bool = False
    checkpoint: str | None = None
    processes: int = 1

    def __post_init__(self):
        for what, values, allowed in (
                ('mode', [self.mode], MODES), ('dtype', [self.dtype], DTYPES),
                ('form', self.forms, FORMS),
                ('memory format', self.memory_formats, MEMORY_FORMATS)):
            unknown = [value for value in values if value not in allowed]
            if unknown or not values:
                raise ArgumentError(f'{what} {", ".join(unknown) or "missing"}: '
                                    f'allowed are {", ".join(allowed)}.')
        exported = [form for form in self.forms if form in EXPORTED]
        if self.whole_model and self.vs_timm and self.checkpoint:
            raise ArgumentError(
                f'{self.checkpoint}: beside timm\'s, a config\'s model has random '
                'weights: leave out --checkpoint or --vs timm.')
        if self.whole_model and self.vs_timm and exported:
            raise ArgumentError(
                f'form {", ".join(exported)}: a config\'s model with timm\'s backbone '
                'is not exported: leave out --vs timm, or name a variant.')
        if exported and (self.trains or self.dtype != 'float32'
                         or torch.device(self.device).type != 'cpu'):
            raise ArgumentError(f'form {", ".join(exported)}: exported files run in '
                                'float32 on the CPU, and do not train.')
        try:
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ArgumentError(
                f'the device {self.device!r} does not work on this machine: '
                f'{str(error).splitlines()[0]}; use cpu.') from error

    @property
    def trains(self) -> bool:
        return self.mode != 'inference'

    @property
    def whole_model(self) -> bool:
        return bool(Path(self.name).suffix)

    @property
    def compares_files(self) -> bool:
        """Whether forms of a whole model are held against each other, to be shipped."""
        return self.whole_model and not self.trains and not self.vs_timm

    def autocast(self) -> AbstractContextManager:
        if self.dtype == 'float32':
            return nullcontext()
        return torch.autocast(torch.device(self.device).type,
                              getattr(torch, self.dtype))


@dataclass(frozen=True)
class Entry:
    """Who takes part, before it is built.

    Attributes:
        library: ``'timm'`` or ``'mmfastvit'``.
        form: Of ``FORMS``; timm's own form is ``'train form'`` or
            ``'re-parameterized'``.
        memory_format: Of ``MEMORY_FORMATS``.
    """

    library: str
    form: str
    memory_format: str

    @property
    def name(self) -> str:
        return f'{self.library} {self.form} {self.memory_format}'


def line_up(case: Case) -> list[Entry]:
    """Return who takes part in ``case``, whom the others are measured by first.

    With timm, that is its network in timm's default memory format, for inference
    re-parameterized.
    """
    exported = [form for form in case.forms if form in EXPORTED]
    entries = []
    if case.vs_timm:
        form = 'train form' if case.trains else 're-parameterized'
        entries += [Entry('timm', form, 'contiguous'),
                    Entry('timm', form, 'channels_last')]
        if 'compiled' in case.forms:
            entries.append(Entry('timm', 'compiled', 'channels_last'))
        entries += [Entry('timm', form, 'contiguous') for form in exported]
    entries += [Entry('mmfastvit', form, memory_format) for form in case.forms
                if form not in exported and not (case.trains and form == 'deploy')
                for memory_format in case.memory_formats]
    return entries + [Entry('mmfastvit', form, 'contiguous') for form in exported]


@dataclass(frozen=True)
class Quality:
    """What to know of a model that is to be shipped, besides its time.

    Attributes:
        file_bytes: Of what is shipped; in PyTorch, of the weights.
        differences: By quantity, the largest from PyTorch on the pictures that are
            timed, as :class:`mmfastvit.export.verification.Row` has it; None where
            PyTorch has no object like it.
        metrics: Of the test data, by name, in points; none of random weights.
        size: Height and width that a file resizes all pictures to, if it does.
    """

    file_bytes: int
    differences: dict[str, float | None]
    metrics: dict[str, float]
    size: tuple[int, int] | None = None


@dataclass
class Contestant:
    """One model of a case, built.

    Attributes:
        name: Library, form and memory format.
        model: The module, before ``torch.compile``.
        forward: Runs it once and returns what a backward pass starts from.
        trains: Whether :meth:`step` includes the backward pass.
        x: Its input (B, 3, H, W).
        maps: What it makes of ``x`` on the CPU in float32, (B, C, H, W) each;
            of a whole model beside timm's, its backbone's.
        quality: Of a whole model, what to know besides its time.
        rates: Of the machine, once they were measured.
    """

    name: str
    model: nn.Module
    forward: Callable[[], Sequence[Tensor]]
    trains: bool
    x: Tensor
    maps: list[np.ndarray] = field(default_factory=list)
    quality: Quality | None = None
    rates: Rates | None = None

    def take_quality(self) -> Quality | None:
        return self.quality

    def step(self) -> None:
        """Run once, in training forward and backward."""
        if not self.trains:
            with torch.inference_mode():
                self.forward()
            return
        outputs = self.forward()
        self.model.zero_grad()
        torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])

    def take_maps(self) -> list[np.ndarray]:
        """Return ``maps``, and forget them."""
        maps, self.maps = self.maps, []
        return maps

    def turn(self, number: int) -> Turn:
        """Run ``number`` times."""
        return turn(self.step, number)

    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def peak_bytes(self) -> int:
        return peak_bytes(self.step, self.x.device)

    def saved_bytes(self) -> int:
        """Return what the forward pass keeps for the backward pass."""
        if not self.trains:
            return 0
        with saved_bytes(self.model) as saved:
            outputs = self.forward()
        del outputs
        return saved.total

    def measure_rates(self) -> None:
        """Note, for a deploy form, how fast the machine is at this moment."""
        if getattr(self.model, 'deploy', False):
            self.rates = self.rates or Rates(self.x.device, self.x.dtype)
            self.rates.measure()

    def floor(self) -> float | None:
        """Return the least seconds for a deploy form, None for other forms."""
        return self.rates and floor(self.model, self.x, self.rates.bandwidth,
                                    self.rates.macs)
