"""Whether tensors fill a network exactly."""
from collections.abc import Iterable

import torch
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError

StateDict = dict[str, Tensor]


def describe_misfit(expected: StateDict, weights: StateDict) -> str:
    """Say how ``weights`` would not fill ``expected`` exactly; '' if they do."""
    kinds = {
        'missing': [k for k in expected if k not in weights],
        'unexpected': [k for k in weights if k not in expected],
        'of another shape': [
            f'{k} {tuple(v.shape)} for {tuple(expected[k].shape)}'
            for k, v in weights.items()
            if k in expected and v.shape != expected[k].shape],
        'no plain numbers': [
            k for k, v in weights.items()
            if v.is_meta or v.layout != torch.strided or v.is_quantized
            or k in expected
            and v.is_floating_point() != expected[k].is_floating_point()],
    }
    return '; '.join(f'{len(keys)} {kind}: {shorten(keys)}'
                     for kind, keys in kinds.items() if keys)


def describe_bad_numbers(weights: StateDict) -> str:
    """Say which tensors no training should have left so; '' if none.

    Not finite numbers, and batch norms' variances below zero: a network with one of
    them computes NaN, or something that looks like an answer.
    """
    kinds = {'not finite': [], 'negative, and a variance': []}
    for name, value in weights.items():
        if (value.is_meta or value.layout != torch.strided or value.is_quantized
                or not value.numel()):
            continue  # the first three are misfits
        if value.is_complex():
            value = torch.view_as_real(value)
        if not value.is_floating_point():
            continue
        if value.element_size() < 4:
            value = value.float()  # torch 2.1 does not know aminmax of float16
        low, high = value.detach().aminmax()  # NaN, if there is one
        if not (low.isfinite() and high.isfinite()):
            kinds['not finite'].append(name)
        elif low < 0 and name.rpartition('.')[2] == 'running_var':
            kinds['negative, and a variance'].append(name)
    return '; '.join(f'{len(names)} {kind}: {shorten(names)}'
                     for kind, names in kinds.items() if names)


def check_numbers(source: str, weights: StateDict) -> None:
    """Refuse weights with numbers that no training should have left.

    Args:
        source: Where they are from.
        weights: The tensors.

    Raises:
        CheckpointError: Some are not finite, or variances are negative.
    """
    problems = describe_bad_numbers(weights)
    if problems:
        raise CheckpointError(
            f'{source} holds tensors that no network computes with, {problems}. The '
            'training that wrote it diverged, or the file is damaged: take an earlier '
            'checkpoint. To look into it all the same, load it with '
            'allow_non_finite=True.')


def shorten(keys: Iterable[str]) -> str:
    """Return the first keys, for a message."""
    keys = list(keys)
    return ', '.join(keys[:4]) + (', …' if len(keys) > 4 else '')
