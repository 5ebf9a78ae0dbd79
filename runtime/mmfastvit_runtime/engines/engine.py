"""What every library that runs files has in common."""
from abc import ABC, abstractmethod

import numpy as np

from mmfastvit_runtime.prediction import Arrays

KEY = 'mmfastvit'  # of the metadata in an exported file


class Engine(ABC):
    """A file, opened. Several threads may run it at a time.

    Attributes:
        metadata: What ``tools/export.py`` wrote into it.
    """

    metadata: dict

    @abstractmethod
    def run(self, pictures: np.ndarray) -> Arrays:
        """Map pictures (B, 3, H, W) uint8, BGR, already resized, to the outputs."""
