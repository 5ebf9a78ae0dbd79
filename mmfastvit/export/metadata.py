"""What an exported file says about itself, so that nothing else is needed."""
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.version import __version__

# Steps of test pipelines that leave the picture's pixels as they are.
_NEUTRAL = ('LoadAnnotations', 'PackDetInputs', 'PackSegInputs', 'PackInputs',
            'PackHandInputs')


def describe(cfg: Config, model: nn.Module, task: str, module: nn.Module,
             classes: list[str], palette: list[list[int]],
             size: tuple[int, int] | None, batch: int | None) -> dict[str, Any]:
    """Return the metadata, of types that JSON knows.

    Args:
        cfg: Of the model.
        model: The detector, segmentor, classifier or estimator of hands.
        task: Of :func:`mmfastvit.export.models.exportable`.
        module: Of it, what becomes the graph.
        classes: Names.
        palette: A colour, RGB, for each.
        size: Height and width, if the graph takes pictures of one size alone.
        batch: How many pictures, if it takes that many alone.

    Raises:
        ArgumentError: The test pipeline resizes in a way that is not known.
    """
    backbone, preprocess = model.backbone, module.preprocess
    steps = resize_steps(cfg, task)
    found = dict(
        task=task, outputs=list(module.outputs), classes=classes, palette=palette,
        size=size, batch=batch, resize=steps,
        layout=f'(B, 3, H, W) {"float32" if is_floating(steps) else "uint8"}, BGR',
        mean=preprocess.mean.flatten().tolist(), std=preprocess.std.flatten().tolist(),
        to_rgb=preprocess.flips, pad_divisor=preprocess.divisor,
        backbone=type(backbone).__name__,
        versions=dict(mmfastvit=__version__, torch=torch.__version__))
    if hasattr(backbone, 'variant'):
        found['embed_dims'] = list(backbone.variant.embed_dims)
        found['depths'] = list(backbone.variant.depths)
    if task == 'detection':
        found |= module.settings
    if task == 'segmentation':
        found |= module.describe(size)
    return found


def resize_steps(cfg: Config, task: str = '') -> list[dict[str, Any]]:
    """Return how the test pipeline resizes, in ``mmfastvit_runtime.resizing.STEPS``.

    Raises:
        ArgumentError: A step changes pictures in a way that is not known.
    """
    steps = []
    known = _STEPS | (_DETECTION_STEPS if task == 'detection' else {})
    pipeline = cfg.test_dataloader.dataset.get('pipeline')
    if not pipeline:
        raise ArgumentError('The test data set has no pipeline of its own, which says '
                            'how pictures are resized: name one data set.')
    for step in pipeline:
        name = getattr(step['type'], '__name__', step['type']).rsplit('.', 1)[-1]
        if name in _NEUTRAL or task == 'features' and name == 'Pad':
            continue  # maps of a picture without its margin are right, too
        options = {key: value for key, value in step.items() if key != 'type'}
        try:
            steps += known[name](**options)
        except (KeyError, TypeError) as error:
            raise ArgumentError(
                f'The test pipeline\'s {dict(step)} cannot be exported: {error}. '
                f'Known are {", ".join(known)}, with their plain arguments.'
                ) from error
    return steps


def is_floating(steps: list[dict[str, Any]]) -> bool:
    """Whether pictures are resized, and given to the graph, in float32."""
    return dict(type='ToFloat32') in steps


def _load(color_type: str = 'color', imdecode_backend: str = 'cv2',
          to_float32: bool = False, ignore_empty: bool = False,
          backend_args: Any = None, file_client_args: Any = None) -> list[dict]:
    if (color_type, imdecode_backend) != ('color', 'cv2'):
        raise TypeError('pictures are read in colour, by OpenCV')
    return [dict(type='ToFloat32')] if to_float32 else []


def _resize(scale: int | tuple[int, int], keep_ratio: bool = False,
            backend: str = 'cv2', interpolation: str = 'bilinear') -> list[dict]:
    if (backend, interpolation) != ('cv2', 'bilinear'):
        raise TypeError('Resize interpolates linearly, by OpenCV')
    scale = (scale, scale) if isinstance(scale, int) else scale
    return [dict(type='Resize', scale=list(scale), keep_ratio=keep_ratio)]


def _resize_to_multiple(size_divisor: int = 32) -> list[dict]:
    return [dict(type='ResizeToMultiple', size_divisor=size_divisor)]


def _resize_edge(scale: int, edge: str = 'short', backend: str = 'cv2',
                 interpolation: str = 'bilinear') -> list[dict]:
    return [dict(type='ResizeEdge', scale=scale, edge=edge, backend=backend,
                 interpolation=interpolation)]


def _centre_crop(crop_size: int | tuple[int, int]) -> list[dict]:
    if isinstance(crop_size, int):
        crop_size = (crop_size, crop_size)
    return [dict(type='CenterCrop', crop_size=list(crop_size))]


def _pad(size: tuple[int, int] | None = None, size_divisor: int | None = None,
         pad_to_square: bool = False, pad_val: int | dict = 0,
         padding_mode: str = 'constant') -> list[dict]:
    """MMDetection's: to the right and below; a picture's value may be one or three."""
    value = pad_val.get('img', 0) if isinstance(pad_val, dict) else pad_val
    value = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if padding_mode != 'constant' or any(not 0 <= part <= 255 or part != int(part)
                                         for part in value):
        raise TypeError('pictures are padded with one colour, 0 to 255')
    value = [int(part) for part in value]
    steps = [dict(type='PadToSquare', value=value)] if pad_to_square else []
    if size_divisor is not None:
        steps.append(dict(type='PadToMultiple', size_divisor=size_divisor, value=value))
    elif size is not None:
        steps.append(dict(type='Pad', size=list(size), value=value))
    return steps


_STEPS = {'LoadImageFromFile': _load, 'Resize': _resize,
          'ResizeToMultiple': _resize_to_multiple, 'ResizeEdge': _resize_edge,
          'CenterCrop': _centre_crop}
# Of detectors alone: the other toolboxes stretch what was padded over the picture.
_DETECTION_STEPS = {'Pad': _pad}
