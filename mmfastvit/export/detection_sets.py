"""What two runtimes find in one picture, compared as sets."""
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from mmfastvit_runtime import Arrays

# What a head says in float32 may be off by so much (a score by a quarter of it): a few
# times what runtimes were seen to differ by.
ROUNDING = 1e-5
# Modules that give scores and boxes; a cascade has one for each stage.
HEADS = re.compile(r'(rpn_head|bbox_head|panoptic_head|roi_head\.bbox_head(\.\d+)?)')


class DetectionSets:
    """A file's objects beside PyTorch's, of one picture.

    Non-maximum suppression keeps one of two boxes that overlap. Where their scores are
    equal but for roundings, another order of additions keeps the other, which may be
    pixels away and leave more or less room for a third. Hence PyTorch may be asked
    again, under :func:`rounded_anew`. Each object that it finds every time has to be in
    the file, and each of the file's in one of its answers.

    Args:
        found: The file's ``boxes`` (N, 4) in pixels, ``scores`` and ``labels`` (N,),
            and perhaps ``masks`` (N, H, W).
        expected: PyTorch's, with the same names.
        limit: Objects whose scores are not above are not looked for.
        nearby: Within so many pixels, a box is the same.
    """

    def __init__(self, found: Arrays, expected: Arrays, limit: float, nearby: float):
        self.found, self.expected = found, expected
        self.limit, self.nearby = limit, nearby
        self.of_expected = _nearest(expected, found, limit, nearby)
        self.of_found = _nearest(found, expected, limit, nearby)
        self.stable = np.full(len(self.of_expected['boxes']), True)

    def consider(self, answer: Arrays) -> None:
        """Take another of PyTorch's answers into account."""
        again = _nearest(self.expected, answer, self.limit, self.nearby)
        self.stable &= again['boxes'] <= self.nearby
        again = _nearest(self.found, answer, self.limit, self.nearby)
        closer = again['boxes'] < self.of_found['boxes']
        self.of_found = {name: np.where(closer, again[name], self.of_found[name])
                         for name in again}

    def compared(self) -> dict[str, tuple[int, float]]:
        """Return of each quantity how many were compared, and the largest difference.

        Where PyTorch finds no object every time, all of its first count. Of ``masks``
        it is the share of pixels, over all objects: a pixel whose value is the
        threshold may fall on either side.
        """
        counts = self.stable if self.stable.any() else np.full_like(self.stable, True)
        found = {}
        for name in self.of_found:
            sides = self.of_expected[name][counts], self.of_found[name]
            worst = np.mean if name == 'masks' else np.max
            found[name] = max(map(len, sides)), float(np.max(  # NaN, where one is
                [worst(side) for side in sides if len(side)], initial=0.))
        return found


@contextmanager
def rounded_anew(model: nn.Module) -> Iterator[None]:
    """Move what a detector's heads say, scores and boxes, by what roundings can.

    Args:
        model: MMDetection's, single-stage or two-stage.
    """
    random = torch.Generator().manual_seed(0)

    def moved(output):
        if isinstance(output, (list, tuple)):
            return type(output)(moved(x) for x in output)
        noise = torch.rand(output.shape, generator=random).to(output) * 2 - 1
        return output + ROUNDING * noise

    heads = [module for name, module in model.named_modules() if HEADS.fullmatch(name)]
    hooks = [head.register_forward_hook(lambda head, inputs, output: moved(output))
             for head in heads]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _nearest(some: Arrays, others: Arrays, limit: float, nearby: float) -> Arrays:
    """Return how far each object above a score is from the other side's nearest.

    Of several in the same place, the one whose score is nearest counts.
    """
    chosen = np.flatnonzero(some['scores'] > limit)
    found = {name: np.full(len(chosen), np.inf) for name in some if name != 'labels'}
    for place, i in enumerate(chosen):
        away = np.abs(others['boxes'] - some['boxes'][i]).max(1, initial=0)
        away[others['labels'] != some['labels'][i]] = np.inf
        if not len(away) or np.isinf(away.min()):
            continue
        score_away = np.abs(others['scores'] - some['scores'][i])
        score_away[away > max(away.min(), nearby)] = np.inf
        j = score_away.argmin()
        for name in found:
            found[name][place] = (
                (some[name][i] != others[name][j]).mean() if name == 'masks' else
                np.abs(some[name][i] - others[name][j]).max())
    return found
