"""Files of the network alone: what comes before and after it is numpy's.

Formats for phones and boards take one picture at a time, in float32, and have no
operators for margins or suppression, some none for the largest of classes.
"""
import numpy as np

from mmfastvit_runtime.heads import select
from mmfastvit_runtime.limits import MAX_PIXELS, check_pixels, check_sides
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
        parts = [self.engine.run(self.pad(picture)) for picture in pictures]
        found = {name: np.concatenate([part[name] for part in parts])
                 for name in parts[0]}
        return self._complete(found, pictures.shape[2:])

    def pad(self, picture: np.ndarray) -> np.ndarray:
        """Return (1, 3, H', W') float32 of a picture (3, H, W), its margin added.

        Raises:
            PredictionError: The file was not made for such a size.
        """
        divisor = self.metadata.get('pad_divisor') or 1
        height, width = picture.shape[1:]
        size = height + -height % divisor, width + -width % divisor
        check_sides(size, self.metadata)
        if size != (height, width):
            check_pixels('With its margin, the picture has', *size[::-1], MAX_PIXELS)
        padded = np.empty((1, 3, *size), np.float32)
        # Normalised, this colour is what the toolbox pads with.
        padded[:] = np.reshape(self.metadata['network']['margin'], (3, 1, 1))
        padded[0, :, :height, :width] = picture
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
