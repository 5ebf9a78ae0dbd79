"""What is compared: forms of one network, side by side with timm's."""
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbone import FastViT
from ..errors import ArgumentError
from ..memory_format import to_channels_last
from ..reparam import reparameterize
from . import timm_twin

MODES = ('inference', 'frozen', 'live')
EXPORTED = ('onnxruntime', 'openvino', 'int8')
FORMS = ('train', 'deploy', 'compiled', *EXPORTED)
MEMORY_FORMATS = {'channels_last': torch.channels_last,
                  'contiguous': torch.contiguous_format}
DTYPES = ('float32', 'bfloat16', 'float16')
# To which forms agree in float32, relative to a map's largest value. Norms on
# batch statistics of few values amplify rounding.
PRECISION = {'inference': 1e-5, 'frozen': 1e-5, 'live': 1e-3}


@dataclass(frozen=True)
class Case:
    """One comparison: everything that its contestants share.

    Attributes:
        name: A variant, or for a whole model the path of its config.
        size: Height and width of the pictures; a config brings its own.
        batch: How many pictures; a config brings its own.
        mode: ``'inference'``, or a training step (forward and backward) with
            the backbone's norms on running (``'frozen'``) or batch statistics
            (``'live'``).
        dtype: ``'float32'``, ``'bfloat16'`` or ``'float16'``; training in the
            latter two, and whole models, run under autocast.
        device: A PyTorch device.
        forms: Ours, of ``FORMS``; ``'compiled'`` is the deploy form, in
            training the train form, through ``torch.compile``; ``'onnxruntime'``
            and ``'openvino'`` are the deploy form in a file, ``'int8'`` that,
            quantized, in OpenVINO.
        memory_formats: Of our forms.
        vs_timm: Whether to compare with timm, in its default memory format
            and in channels_last, and compiled or exported where ours is.
        checkpoint: Of a config's model, or a work directory; None takes random
            weights.

    Raises:
        ArgumentError: A value is none of those allowed, or the device does not
            work on this machine.
    """

    name: str = 'sa12'
    size: tuple[int, int] = (512, 512)
    batch: int = 1
    mode: str = 'inference'
    dtype: str = 'float32'
    device: str = 'cpu'
    forms: tuple[str, ...] = ('train', 'deploy')
    memory_formats: tuple[str, ...] = ('channels_last', )
    vs_timm: bool = False
    checkpoint: str | None = None

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

    def autocast(self) -> AbstractContextManager:
        if self.dtype == 'float32':
            return nullcontext()
        return torch.autocast(torch.device(self.device).type,
                              getattr(torch, self.dtype))


@dataclass
class Contestant:
    """One model of a case.

    Attributes:
        name: Library, form and memory format.
        model: The module, before ``torch.compile``.
        forward: Runs it once and returns what a backward pass starts from.
        trains: Whether :meth:`step` includes the backward pass.
        x: Its input (B, 3, H, W).
    """

    name: str
    model: nn.Module
    forward: Callable[[], Sequence[Tensor]]
    trains: bool
    x: Tensor

    def step(self) -> None:
        """Run once, in training forward and backward."""
        if not self.trains:
            with torch.inference_mode():
                self.forward()
            return
        outputs = self.forward()
        self.model.zero_grad()
        torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])


@dataclass(frozen=True)
class _Entry:
    """A model on its way to become a contestant."""

    library: str
    form: str
    model: nn.Module
    memory_format: str

    @property
    def name(self) -> str:
        return f'{self.library} {self.form} {self.memory_format}'


def backbones(case: Case) -> list[Contestant]:
    """Build the backbones that ``case`` compares, all on the same weights.

    With timm, its network in timm's default memory format comes first, for
    inference re-parameterized.

    Raises:
        ArgumentError: timm is missing, there is no such variant, or two
            backbones compute different maps.
    """
    torch.manual_seed(0)
    x = torch.randn(case.batch, 3, *case.size)
    found, expected = [], None
    for entry in _backbones(case, x):
        layout = MEMORY_FORMATS[entry.memory_format]
        model = copy.deepcopy(entry.model).to(memory_format=layout)
        own = x.contiguous(memory_format=layout)
        with torch.no_grad():
            maps = copy.deepcopy(model)(own)
        expected = maps if expected is None else expected
        if entry.form != 'int8':  # which is another result, by design
            _check_equal(entry.name, maps, expected, PRECISION[case.mode])
        dtype = torch.float32 if case.trains else getattr(torch, case.dtype)
        model, own = model.to(case.device, dtype), own.to(case.device, dtype)
        found.append(Contestant(entry.name, model, partial(
            _run_backbone, case, _compiled(entry.form, model), own),
            case.trains, own))
    return found


def whole_models(case: Case, cfg: Config) -> list[Contestant]:
    """Build the forms of a config's model, on a batch of the config's data.

    Args:
        case: What to compare; ``size``, ``batch`` and ``vs_timm`` do not apply.
        cfg: From :func:`mmfastvit.runner.load_config`.

    Raises:
        ArgumentError: ``case`` asks for timm, or the model holds no FastViT.
        DataError: The data is missing.
    """
    from ..runner import build_runner, check_data, load_weights
    if case.vs_timm:
        raise ArgumentError(f'{case.name} is a whole model, and timm has none: '
                            'leave out --vs timm, or name a variant.')
    split = 'train' if case.trains else 'test'
    check_data(cfg, split)
    cfg.model.backbone.init_cfg, cfg.channels_last = None, False
    runner = build_runner(cfg)
    loader = runner.build_dataloader(cfg[f'{split}_dataloader'])
    batch = next(iter(loader))
    if case.checkpoint is None:
        _randomize(runner.model.backbone)
    else:
        load_weights(runner.model, case.checkpoint)
    x = runner.model.data_preprocessor(copy.deepcopy(batch))['inputs']
    found = []
    for entry in _own(case, runner.model.train(case.trains)):
        model = copy.deepcopy(entry.model).to(case.device)
        if entry.memory_format == 'channels_last':
            model = to_channels_last(model)
        if case.mode == 'frozen':
            for module in model.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if entry.form == 'compiled':
            model.backbone.compile()
        found.append(Contestant(entry.name, model, partial(
            _run_whole, case, model, batch), case.trains, x))
    for form in case.forms:
        if form in EXPORTED:
            from .exported import exported_model
            model = exported_model(cfg, runner.model, form, batch['inputs'][0])
            found.append(Contestant(f'mmfastvit {form}', model, partial(
                model.test_step, batch), case.trains, x))
    return found


def _backbones(case: Case, x: Tensor) -> Iterator[_Entry]:
    ours = _randomize(FastViT(case.name, out_norm_cfg=None))
    if case.vs_timm:
        theirs, form = _randomize(timm_twin.build(case.name)), 'train form'
        ours.load_state_dict(timm_twin.our_weights(theirs))
        if not case.trains:
            from timm.utils.model import reparameterize_model
            theirs, form = reparameterize_model(theirs.eval()), 're-parameterized'
        theirs.train(case.mode == 'live')
        for memory_format in ('contiguous', 'channels_last'):
            yield _Entry('timm', form, theirs, memory_format)
        if 'compiled' in case.forms:
            yield _Entry('timm', 'compiled', theirs, 'channels_last')
        yield from _exported(case, 'timm', theirs, x)
    ours.train(case.mode == 'live')
    yield from _own(case, ours)
    if set(case.forms) & set(EXPORTED):
        yield from _exported(case, 'mmfastvit', reparameterize(ours), x)


def _exported(case: Case, library: str, model: nn.Module, x: Tensor
              ) -> Iterator[_Entry]:
    for form in case.forms:
        if form in EXPORTED:
            from .exported import ExportedBackbone
            yield _Entry(library, form, ExportedBackbone(model, x, form),
                         'contiguous')


def _own(case: Case, model: nn.Module) -> Iterator[_Entry]:
    for form in case.forms:
        if case.trains and form == 'deploy' or form in EXPORTED:
            continue
        ready = model if case.trains or form == 'train' else reparameterize(model)
        for memory_format in case.memory_formats:
            yield _Entry('mmfastvit', form, ready, memory_format)


def _randomize(model: nn.Module) -> nn.Module:
    """Give norms and layer scales values at which every branch counts."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('running_var'):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith('running_mean'):
                tensor.normal_(0, 0.2)
            elif 'layer_scale' in name:
                tensor.uniform_(0.1, 0.5)
    return model


def _check_equal(name: str, maps: Sequence[Tensor], expected: Sequence[Tensor],
                 precision: float) -> None:
    for i, (one, other) in enumerate(zip(maps, expected)):
        error = (one - other).abs().max() / other.abs().max()
        if one.shape != other.shape or not error <= precision:
            raise ArgumentError(
                f'{name} computes another map {i} than the baseline: off by '
                f'{error:.1e} of its largest value, where {precision:.0e} is '
                'rounding. Times of different results mean nothing.')


def _compiled(form: str, model: nn.Module) -> Callable:
    if form != 'compiled':
        return model
    # On GPUs, this mode replays CUDA graphs.
    return torch.compile(model, mode='reduce-overhead')


def _run_backbone(case: Case, model: Callable, x: Tensor) -> tuple[Tensor, ...]:
    if not case.trains:
        return tuple(model(x))
    with case.autocast():
        return tuple(model(x))


def _run_whole(case: Case, model: nn.Module, batch: dict) -> Sequence[Tensor]:
    with case.autocast():
        if not case.trains:
            return model.test_step(batch)
        data = model.data_preprocessor(batch, True)
        return [model.parse_losses(model(**data, mode='loss'))[0]]
