"""Files of the network alone: what comes before and after it is numpy's.

Formats for phones and boards take one picture at a time, in float32, and have no
operators for margins, suppression or the largest of classes.
"""
import numpy as np

from mmfastvit_runtime.heads import select
from mmfastvit_runtime.limits import check_sides
from mmfastvit_runtime.prediction import Arrays

from .engine import Engine


class WholeModel(Engine):
    """An engine of the network, completed to the whole model.

    Args:
        engine: Maps (1, 3, H, W) float32 to ``network.outputs`` of its metadata.
    """

    def __init__(self, engine: Engine):
        self.engine, self.metadata = engine, engine.metadata

    def run(self, pictures: np.ndarray) -> Arrays:
        prepared = self._pad(np.asarray(pictures, np.float32))
        check_sides(prepared.shape[2:], self.metadata)
        parts = [self.engine.run(prepared[i:i + 1]) for i in range(len(prepared))]
        found = {name: np.concatenate([part[name] for part in parts])
                 for name in parts[0]}
        return self._complete(found, pictures.shape[2:])

    def _pad(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures with the margin that the network wants, right and below."""
        divisor = self.metadata.get('pad_divisor') or 1
        height, width = pictures.shape[2:]
        if not (height % divisor or width % divisor):
            return np.ascontiguousarray(pictures)
        padded = np.empty((*pictures.shape[:2], height + -height % divisor,
                           width + -width % divisor), np.float32)
        # Of which normalisation makes what the toolbox pads with.
        padded[:] = np.reshape(self.metadata['network']['margin'], (3, 1, 1))
        padded[:, :, :height, :width] = pictures
        return padded

    def _complete(self, found: Arrays, size: tuple[int, int]) -> Arrays:
        task = self.metadata['task']
        if task == 'segmentation':
            logits = found['logits'][:, :, :size[0], :size[1]]
            return {'labels': logits.argmax(1).astype(np.int32), 'logits': logits}
        network = self.metadata['network']
        if task == 'detection' and network.get('heads'):
            return select([found[name] for name in network['outputs']],
                          network['heads'], size)
        return found
