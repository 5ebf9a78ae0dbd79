"""From the picture that a camera or a file gives to what a backbone takes."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError


class Preprocess(nn.Module):
    """What a toolbox's data preprocessor does to one batch in testing.

    Args:
        data_preprocessor: Of MMDetection, MMSegmentation or MMPretrain.

    Attributes:
        divisor: Of the height and width that pictures are padded to.

    Raises:
        ArgumentError: It does what this module cannot.
    """

    def __init__(self, data_preprocessor: nn.Module):
        super().__init__()
        own = data_preprocessor
        test_cfg = getattr(own, 'test_cfg', None) or {}
        if test_cfg.get('size'):
            raise ArgumentError(
                f'data_preprocessor.test_cfg.size={test_cfg["size"]} pads every '
                'picture to one size; export knows size_divisor alone. Set that.')
        # MMSegmentation's own size_divisor is for training alone.
        self.divisor = (test_cfg.get('size_divisor') or 1) if hasattr(
            own, 'size_divisor') else getattr(own, 'pad_size_divisor', 1)
        self.pad_value = float(getattr(own, 'pad_value', getattr(own, 'pad_val', 0)))
        self.flips = bool(getattr(own, '_channel_conversion', False)
                          or getattr(own, 'to_rgb', False))
        mean, std = ((own.mean, own.std) if own._enable_normalize
                     else (torch.zeros(3, 1, 1), torch.ones(3, 1, 1)))
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W), 0 to 255, to (B, 3, H', W'), normalised and padded."""
        if self.flips:
            image = image.flip(1)
        image = (image.float() - self.mean) / self.std
        if self.divisor > 1:
            height, width = image.shape[2:]
            image = F.pad(image, (0, -width % self.divisor, 0,
                                  -height % self.divisor), value=self.pad_value)
        return image


class PointwisePreprocess(nn.Module):
    """The same as one 1x1 convolution, of pictures that have their margin.

    Phones and boards have fast convolutions, and few operators else.

    Args:
        preprocess: Whose normalisation and order of channels it has.
    """

    def __init__(self, preprocess: Preprocess):
        super().__init__()
        mean, std = preprocess.mean.flatten(), preprocess.std.flatten()
        weight = torch.diag(1 / std)
        if preprocess.flips:
            weight = weight.flip(1)
        self.conv = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.conv.weight.data = weight[:, :, None, None].clone()
        self.conv.bias.data = -mean / std

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) float32, 0 to 255, to (B, 3, H, W), normalised."""
        return self.conv(image)


def margin(preprocess: Preprocess) -> list[float]:
    """Return the colour, BGR, that becomes what normalised pictures are padded with."""
    colour = (preprocess.mean + preprocess.pad_value * preprocess.std).flatten()
    return (colour.flip(0) if preprocess.flips else colour).tolist()
