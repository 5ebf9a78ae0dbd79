"""What every detector is: heads, candidates, and a choice among them."""
from typing import Any

import torch
from torch import Tensor, nn

from mmfastvit.export.preprocessing import Preprocess

from .selection import Candidates, Objects

LARGEST_STRIDE = 128  # of the maps of a pyramid of five levels


class Detector(nn.Module):
    """A detector of MMDetection: pictures in, objects out.

    A family of heads is a subclass, which says what ``heads``, ``candidates`` and
    ``select`` are.

    Args:
        model: MMDetection's.
        paste: Whether its masks are to be pictures.

    Attributes:
        outputs: Names of what :meth:`forward` returns.
        lowest_opset: Of ONNX, that has all of its operators.
        batch: How many pictures the graph takes; None takes any number.
        has_network: Whether it can leave for phones and boards, which have fixed sizes.
        settings: What metadata says of its selection.
        general_size: Least height and width to record with: where a map has one row
            or column, exporters take that for granted.

    Raises:
        ArgumentError: A head does what the graph would not.
    """

    outputs = ['count', 'boxes', 'scores', 'labels']
    lowest_opset = 11
    batch: int | None = None
    has_network = False

    def __init__(self, model: nn.Module, paste: bool = False):
        super().__init__()
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model, self.paste = model, paste
        self.settings: dict[str, Any] = {}
        self.general_size = (2 * LARGEST_STRIDE, 2 * LARGEST_STRIDE)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find objects in pictures of one size.

        Args:
            image: (B, 3, H, W), 0 to 255.

        Returns:
            How many objects each picture has (B,); boxes (B, rows, 4) in pixels of
            ``image``, scores (B, rows) and labels (B, rows), the best first, 0 and
            -1 in unused rows; and masks, if there are.
        """
        size = image.shape[2:]
        return self.select(self.candidates(self.heads(image), size), size)

    def heads(self, image: Tensor) -> Any:
        """Return what the network says of pictures (B, 3, H, W), 0 to 255."""
        raise NotImplementedError

    def candidates(self, said: Any, size: tuple[int, int]) -> Any:
        """Return boxes of which some are objects.

        Args:
            said: From :meth:`heads`.
            size: Height and width of the pictures.
        """
        raise NotImplementedError

    def select(self, candidates: Any, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Return :attr:`outputs`."""
        raise NotImplementedError


def padded(objects: Objects, candidates: Candidates) -> tuple[Tensor, ...]:
    """Return counts, boxes, scores and labels of a batch, a row for each object."""
    chosen = objects.indices
    return (objects.counts, objects.padded(candidates.boxes[chosen]),
            objects.padded(candidates.scores[chosen]),
            objects.padded(candidates.labels[chosen].to(torch.int64), -1))
