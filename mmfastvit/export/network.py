"""What of a model goes into files for phones and boards."""
from typing import Any

import torch
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError

from .preprocessing import PointwisePreprocess, margin


class Network(nn.Module):
    """The network alone: margins, suppression and argmax are the runtime's, by numpy.

    Args:
        whole: From :func:`mmfastvit.export.models.exportable`. Its ``network`` maps
            pictures to what the runtime completes; where it has none, its ``forward``
            does, and there is nothing to complete. It is changed.

    Attributes:
        outputs: Names of what :meth:`forward` returns.
        settings: What metadata say of it.

    Raises:
        ArgumentError: The runtime cannot complete it.
    """

    def __init__(self, whole: nn.Module):
        super().__init__()
        if not getattr(whole, 'has_network', True):
            raise ArgumentError(
                f'{type(whole.model).__name__} cannot leave for phones and boards: its '
                'sizes depend on what it finds. Single-stage detectors can, and those '
                'whose queries become objects; or export its backbone alone '
                '(--backbone-only), or take .onnx or .xml.')
        self.outputs = getattr(whole, 'network_outputs', whole.outputs)
        self.settings: dict[str, Any] = dict(
            outputs=self.outputs, margin=margin(whole.preprocess))
        if hasattr(whole, 'describe_heads'):
            self.settings['heads'] = whole.describe_heads()
        whole.preprocess = PointwisePreprocess(whole.preprocess)
        self.whole = whole
        # Converters take strides for what the model is about.
        self.eval().to(memory_format=torch.contiguous_format)

    def forward(self, image: Tensor) -> Any:
        """Map (1, 3, H, W) float32, 0 to 255, to ``outputs``."""
        return getattr(self.whole, 'network', self.whole.forward)(image)
