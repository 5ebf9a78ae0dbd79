"""Segmentors: pictures in, a class for each pixel out."""
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError

from .preprocessing import Preprocess


class Segmentor(nn.Module):
    """A segmentor of MMSegmentation that looks at whole pictures."""

    outputs = ['labels', 'logits']

    def __init__(self, model: nn.Module):
        super().__init__()
        if (model.test_cfg.get('mode', 'whole') != 'whole' or model.out_channels < 2
                or model.align_corners):
            raise ArgumentError(
                'Only segmentors of two or more output channels that look at whole '
                'pictures (model.test_cfg.mode=whole), without align_corners, can be '
                'exported.')
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Label every pixel.

        Args:
            image: (B, 3, H, W), 0 to 255.

        Returns:
            Labels (B, H, W) and, for pictures that were resized, the logits
            (B, classes, H, W).
        """
        height, width = image.shape[2:]
        x = self.preprocess(image)
        logits = F.interpolate(
            self.model.decode_head(self.model.extract_feat(x)), x.shape[2:],
            mode='bilinear', align_corners=self.model.align_corners)
        logits = logits[:, :, :height, :width]
        return logits.argmax(1), logits
