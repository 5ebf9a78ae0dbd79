"""Backbones on the same weights: ours and timm's."""
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.models.families import find_variant
from mmfastvit.models.fastvit import FastViT
from mmfastvit.models.reparam import reparameterize
from mmfastvit.utils.errors import ArgumentError

from . import timm_twin
from .contestants import EXPORTED, MEMORY_FORMATS, Case, Contestant, Entry
from .weights import randomize

SIZE = 512, 512
# To which forms agree in float32, relative to a map's largest value. Norms on
# batch statistics of few values amplify rounding.
PRECISION = {'inference': 1e-5, 'frozen': 1e-5, 'live': 1e-3}


def backbone(case: Case, entry: Entry) -> Contestant:
    """Build one backbone.

    Raises:
        ArgumentError: timm is missing, or there is no such variant.
    """
    torch.manual_seed(0)
    x = torch.randn(case.batch or 1, 3, *(case.size or SIZE))
    layout = MEMORY_FORMATS[entry.memory_format]
    model = _network(case, entry).train(case.mode == 'live')
    if entry.form in EXPORTED:
        from .exported import ExportedBackbone
        model = ExportedBackbone(model, x, entry.form)
    model, x = model.to(memory_format=layout), x.contiguous(memory_format=layout)
    with torch.no_grad():
        maps = [tensor.numpy() for tensor in model(x)]
    dtype = torch.float32 if case.trains else getattr(torch, case.dtype)
    model, x = model.to(case.device, dtype), x.to(case.device, dtype)
    call = model
    if entry.form == 'compiled':
        # On GPUs, this mode replays CUDA graphs.
        call = torch.compile(model, mode='reduce-overhead')
    return Contestant(entry.name, model, partial(_run, case, call, x), case.trains, x,
                      maps)


def check_equal(case: Case, maps: dict[str, Sequence[np.ndarray]]) -> None:
    """Hold the maps of all contestants, by name, against those of the first.

    Those in fewer bits are left out, which compute another result by design.

    Raises:
        ArgumentError: They differ by more than rounding.
    """
    maps = {name: own for name, own in maps.items()
            if not any(EXPORTED.get(word, ('', None))[1] for word in name.split())}
    expected = next(iter(maps.values()), None)
    for name, own in maps.items():
        for i, (one, other) in enumerate(zip(own, expected, strict=True)):
            error = np.abs(one - other).max() / np.abs(other).max() \
                if one.shape == other.shape else np.inf
            if not error <= PRECISION[case.mode]:
                raise ArgumentError(
                    f'{name} computes another map {i} than the baseline: off by '
                    f'{error:.1e} of its largest value, where '
                    f'{PRECISION[case.mode]:.0e} is rounding. Times of different '
                    'results mean nothing.')


def _network(case: Case, entry: Entry) -> nn.Module:
    family, arch = find_variant(case.name)
    ours = randomize(family(arch, out_norm_cfg=None))
    if case.vs_timm:
        if family is not FastViT:
            raise ArgumentError(f'timm has no {family.__name__}: leave out --vs timm.')
        theirs = randomize(timm_twin.build(case.name))
        if entry.library == 'timm':
            return theirs if case.trains else _reparameterized(theirs)
        ours.load_state_dict(timm_twin.our_weights(theirs))
    return ours if case.trains or entry.form == 'train' else reparameterize(ours)


def _reparameterized(twin: nn.Module) -> nn.Module:
    from timm.utils.model import reparameterize_model
    return reparameterize_model(twin.eval())


def _run(case: Case, call: Callable, x: Tensor) -> tuple[Tensor, ...]:
    if not case.trains:
        return tuple(call(x))
    with case.autocast():
        return tuple(call(x))
