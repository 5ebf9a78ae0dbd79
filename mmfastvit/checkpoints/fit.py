"""Whether tensors fill a network exactly."""
from collections.abc import Iterable

import torch
from torch import Tensor

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


def shorten(keys: Iterable[str]) -> str:
    """Return the first keys, for a message."""
    keys = list(keys)
    return ', '.join(keys[:4]) + (', …' if len(keys) > 4 else '')
