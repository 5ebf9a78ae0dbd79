"""Segmentors: pictures in, a class for each pixel out."""
from typing import Any

from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError

from .preprocessing import Preprocess
from .substitutions import functions_that_export

# Methods of MMSegmentation that are known to give a picture's logits by its tensor
# alone, and to label by the largest. Whoever has others is refused.
_MODELS = {'predict': ('EncoderDecoder', ), 'inference': ('EncoderDecoder', ),
           'slide_inference': ('EncoderDecoder', ),
           'whole_inference': ('EncoderDecoder', ),
           'encode_decode': ('EncoderDecoder', 'CascadeEncoderDecoder'),
           'postprocess_result': ('BaseSegmentor', )}
_HEADS = {'predict': ('BaseDecodeHead', 'BaseCascadeDecodeHead', 'EncHead', 'DAHead'),
          'predict_by_feat': ('BaseDecodeHead', )}
_QUERIES = {'predict': ('Mask2FormerHead', )}  # in which one method does both


class Segmentor(nn.Module):
    """A segmentor of MMSegmentation, for whole pictures or for windows of them.

    Args:
        model: In the form to be exported; modules are replaced already.

    Attributes:
        slide: ``crop_size`` and ``stride`` (height, width) of the windows that the
            runtime cuts pictures into; None where the graph takes whole pictures.

    Raises:
        ArgumentError: It computes something that would not be exported.
    """

    outputs = ['labels', 'logits']
    network_outputs = ['logits']
    lowest_opset = 11

    def __init__(self, model: nn.Module):
        super().__init__()
        _check_methods(model, _MODELS)
        head = model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        if 'Mask2FormerHead' in [kind.__name__ for kind in type(head).__mro__]:
            _check_methods(head, _QUERIES)
            self.lowest_opset = 16  # the first with GridSample
        else:
            _check_methods(head, _HEADS)
        if model.out_channels < 2:
            raise ArgumentError(
                f'Segmentors of {model.out_channels} output channel cannot be '
                'exported: labels are the largest of two or more. Train it with '
                'out_channels=2 and use_sigmoid=False.')
        self.preprocess = Preprocess(model.data_preprocessor)
        self.slide = _slide(model.test_cfg, self.preprocess.divisor)
        self.align_corners = bool(model.align_corners)
        self.model = _Network(model)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Label every pixel.

        Args:
            image: (B, 3, H, W), 0 to 255.

        Returns:
            Labels (B, H, W) and, for pictures that were resized, the logits
            (B, classes, H, W).
        """
        height, width = image.shape[2:]
        logits = self.model(self.preprocess(image))[:, :, :height, :width]
        return logits.argmax(1), logits

    def network(self, image: Tensor) -> tuple[Tensor]:
        """Map (B, 3, H, W), with its margin, to logits (B, classes, H, W)."""
        return self.model(self.preprocess(image)),

    def describe(self, size: tuple[int, int] | None) -> dict[str, Any]:
        """Return what metadata says of segmentors alone.

        Args:
            size: Height and width, if the graph takes pictures of one size alone.

        Raises:
            ArgumentError: Pictures of that size would have to be cut into windows.
        """
        found = dict(align_corners=self.align_corners)
        if self.slide is None or size is not None and _fits(size, self.slide):
            return found  # one window, which is the picture
        if size is not None:
            raise ArgumentError(
                f'A picture of {size[0]}x{size[1]} is cut into windows of '
                f'{self.slide["crop_size"]} (model.test_cfg.mode=slide): fix the size '
                'of a window, leave the size open, or set model.test_cfg.mode=whole.')
        return found | dict(slide=self.slide)


class _Network(nn.Module):
    """What the toolbox does to one batch of pictures, or of windows.

    A module, so that all that it computes counts as the network's when bits are saved.
    """

    def __init__(self, segmentor: nn.Module):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W), prepared, to logits (B, classes, H, W)."""
        with functions_that_export():
            return self.segmentor.encode_decode(x, [dict(img_shape=_Size(x.shape[2:]))])


class _Size(tuple):
    """Height and width that are still numbers of the graph after a deep copy.

    Mask2Former's head makes one of what it is told of pictures.
    """

    def __deepcopy__(self, memo: dict) -> '_Size':
        return self


def _check_methods(module: nn.Module, known: dict[str, tuple[str, ...]]) -> None:
    """Raise ArgumentError if one of a module's methods is not a known class's."""
    for name, owners in known.items():
        method = getattr(type(module), name, None)
        found = getattr(method, '__qualname__', 'none')
        if (found not in [f'{owner}.{name}' for owner in owners]
                or not method.__module__.startswith('mmseg.')):
            raise ArgumentError(
                f'{type(module).__name__} cannot be exported: its {name} is {found}; '
                f'known are those of {", ".join(owners)} of MMSegmentation. Export '
                'the backbone alone (--backbone-only).')


def _slide(test_cfg: dict, divisor: int) -> dict[str, list[int]] | None:
    """Return the windows of ``test_cfg``, None for whole pictures.

    Raises:
        ArgumentError: There are gaps between them, or they would be padded otherwise
            than the toolbox pads pictures.
    """
    mode = test_cfg.get('mode', 'whole')
    if mode == 'whole':
        return None
    try:
        crop, stride = ([int(side) for side in test_cfg[name]]
                        for name in ('crop_size', 'stride'))
        fits = len(crop) == len(stride) == 2 and all(
            0 < step <= side for step, side in zip(stride, crop))
    except (KeyError, TypeError):
        fits = False
    if mode != 'slide' or not fits:
        raise ArgumentError(
            f'model.test_cfg={dict(test_cfg)}: give mode=whole, or mode=slide with '
            'crop_size and stride, (height, width) each, stride 1 to crop_size.')
    if any(side % divisor for side in crop):
        raise ArgumentError(
            f'model.test_cfg.crop_size={crop}: pictures are padded to multiples of '
            f'{divisor} (data_preprocessor.test_cfg.size_divisor), so that windows '
            'have to be multiples, too.')
    return dict(crop_size=crop, stride=stride)


def _fits(size: tuple[int, int], slide: dict[str, list[int]]) -> bool:
    return all(side <= crop for side, crop in zip(size, slide['crop_size']))
