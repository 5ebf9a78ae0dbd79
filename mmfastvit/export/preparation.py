"""A model, made ready to be written as a file."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmfastvit.checkpoints.read import load_from_path_or_url
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.checkpoints.work_dir import latest_checkpoint
from mmfastvit.datasets.shapes import draw_scene
from mmfastvit.engine.data import check_data
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.backbone import find_backbone
from mmfastvit.models.reparam import reparameterizable_layers, reparameterize
from mmfastvit.utils.errors import ArgumentError, MissingDataError

from .formats import Format
from .metadata import describe, is_floating
from .models import exportable
from .network import Network
from .options import Options, check_options, is_static

STRIDE = 64  # the largest of a backbone's maps
# Pictures to record with, where any number may follow: 1 would be taken for granted,
# and so would 2, where twice a width happens to be another width.
RECORDED = 3


# Between which sides may vary where a format wants bounds; memory is planned for the
# largest. COCO's usual 1333 x 800 fits.
SIDES = dict(divisor=32, least=64, most=1344)


@dataclass(frozen=True)
class Prepared:
    """What a file is written from, and compared with.

    Attributes:
        model: A toolbox's, in deploy form; its ``test_step`` is what the file has to
            compute.
        graph: What the file is to hold, from pictures to outputs.
        example: (B, 3, H, W), to record it with.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
        pictures: (3, H, W) each, BGR, to compare with.
    """

    model: nn.Module
    graph: nn.Module
    example: Tensor
    metadata: dict
    pictures: list[Tensor]


def prepare(cfg: Config, checkpoint: str, kind: Format, options: Options) -> Prepared:
    """Return a model, ready to be written.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        checkpoint: Of the whole model, or a work directory, whose latest is taken.
        kind: The file's format.
        options: What it is to be.

    Raises:
        ArgumentError: The model, or what is asked for, cannot be exported.
        CheckpointError: The checkpoint does not fit.
        DataError: The test data is damaged; without any, pictures are generated.
    """
    runner = build_runner(cfg, keep_log=False)
    model = runner.model.cpu().eval()
    load_weights(model, checkpoint)
    if any(layer.fused is None for _, layer in reparameterizable_layers(model)):
        model = reparameterize(model)
    _check_channels(model)
    task, module = exportable(model, options.backbone_only, options.paste, kind.known,
                              shared=not kind.is_mobile)
    check_options(options, kind, task, module)
    one_picture = kind.one_picture or is_static(options, kind)
    batch = 1 if one_picture else getattr(module, 'batch', None)
    metadata = describe(cfg, model, task, module,
                        *_classes(cfg, checkpoint, model), options.size, batch)
    if hasattr(module, 'describe_data'):
        metadata |= module.describe_data(_metainfo(cfg, checkpoint, 'faces'))
    graph = module
    if kind.is_mobile:
        graph = Network(module)
        metadata |= dict(network=graph.settings,
                         layout='(1, 3, H, W) float32, BGR, 0 to 255')
    if kind.is_bounded and options.size is None:
        metadata['sides'] = dict(SIDES)
    dataset = _test_data(runner)
    ids = getattr(dataset, 'cat_ids', None)  # of COCO's layout: the labels' own
    if ids and len(ids) == len(metadata['classes']):
        metadata['category_ids'] = list(ids)
    pictures = _pictures(dataset, options.size, metadata.get('sides'))
    if is_floating(metadata['resize']):
        pictures = [picture.float() for picture in pictures]
    example = pictures[0].repeat(batch or RECORDED, 1, 1, 1)
    if options.size is None:
        for part in (find_backbone(model), module):
            example = _enlarge(example, getattr(part, 'general_size', (1, 1)))
    elif kind.is_mobile:  # the runtime adds the margin
        divisor = metadata['pad_divisor']
        example = _enlarge(example, [side + -side % divisor for side in options.size])
    return Prepared(model, graph, example, metadata, pictures)


def _enlarge(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Pad (B, 3, H, W) with black to a least height and width."""
    missing = [max(0, least - n) for least, n in zip(size, pictures.shape[2:])]
    return F.pad(pictures, (0, missing[1], 0, missing[0]))


def _metainfo(cfg: Config, checkpoint: str, wanted: str) -> dict:
    """Return what is known of the data that a model was trained with.

    From the checkpoint, where MMEngine keeps it, or from the data set.

    Args:
        cfg: Of the model.
        checkpoint: Of the model.
        wanted: What the checkpoint has to tell to be taken.
    """
    content = load_from_path_or_url(latest_checkpoint(checkpoint))
    meta = content.get('meta') if isinstance(content, dict) else None
    meta = meta.get('dataset_meta') if isinstance(meta, dict) else None
    if isinstance(meta, dict) and meta.get(wanted):
        return meta
    return DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo


def _classes(cfg: Config, checkpoint: str, model: nn.Module
             ) -> tuple[list[str], list[list[int]]]:
    """Return names and colours (RGB) of the classes; where nothing tells, numbered."""
    meta = _metainfo(cfg, checkpoint, 'classes')
    count = next((module.num_classes for module in model.modules()
                  if isinstance(getattr(module, 'num_classes', None), int)), 0)
    classes = meta.get('classes') or range(count)
    # ('circle') without its comma is one name, and not six.
    classes = [classes] if isinstance(classes, str) else [str(name) for name in classes]
    palette = meta.get('palette')
    if not isinstance(palette, (list, tuple)) or len(palette) < len(classes):
        random = np.random.RandomState(0)  # the same colours each time
        palette = random.randint(0, 256, (len(classes), 3)).tolist()
    return classes, [[int(value) for value in colour]
                     for colour in palette[:len(classes)]]


def _check_channels(model: nn.Module) -> None:
    """Refuse networks for other images than the runtime reads, which is in colour."""
    channels = getattr(find_backbone(model), 'in_channels', 3)
    if channels != 3:
        raise ArgumentError(
            f'The model is for images of {channels} channels; exported files take '
            'pictures in colour, (B, 3, H, W) uint8. Export the backbone yourself, by '
            'torch.onnx.export(reparameterize(model.backbone), ...).')


def _test_data(runner: Runner) -> Dataset | None:
    """Return the test data set, None where it is not there."""
    try:
        check_data(runner.cfg, 'test')
    except MissingDataError:
        return None
    return runner.test_dataloader.dataset


def _pictures(dataset: Dataset | None, size: tuple[int, int] | None,
              sides: dict[str, int] | None) -> list[Tensor]:
    """Return two pictures (3, H, W) uint8, BGR, of two sizes if sizes may vary.

    Of the test data set, or without one, generated.

    Args:
        dataset: The test data set, or None.
        size: Height and width, if only one is allowed.
        sides: Bounds of height and width, and what they have to be multiples of.
    """
    count = 0 if dataset is None else min(2, len(dataset))
    pictures = [dataset[i]['inputs'] for i in range(count)]
    if not pictures:
        random = np.random.RandomState(0)
        pictures = [torch.from_numpy(draw_scene(random, 256)[0]).permute(2, 0, 1)
                    for _ in range(2)]
    first, last = pictures[0], pictures[-1]
    one = tuple(first.shape[1:])
    other = _other_size(one, last.shape[1:])
    if sides:
        one, other = ([_within(side, **sides) for side in pair]
                      for pair in (one, other))
        if one == other:
            other = [_within(side // 2, **sides) for side in one]
    return [_resize(first, size or one), _resize(last, size or other)]


def _within(side: int, divisor: int, least: int, most: int) -> int:
    return min(max(side // divisor * divisor, least), most)


def _other_size(size: Sequence[int], like: Sequence[int]) -> list[int]:
    """Return a height and width near those of another picture, none of ``size``.

    Wide where ``size`` is tall or square, else tall: what an exporter decided by which
    side is longer shows, too.
    """
    low, high = sorted(_other_side(side, share)
                       for side, share in zip(like, (0.8, 0.7)))
    while low in size:
        low += STRIDE
    while high <= low or high in size:
        high += STRIDE
    return [low, high] if size[0] >= size[1] else [high, low]


def _other_side(side: int, share: float) -> int:
    """Return a side whose last map differs: what is frozen at one shows at the other.

    About ``share`` of it, or, where it is too small for that, more. By multiples of
    the largest stride, since some necks want sides of such.
    """
    steps = max(1, round(side * (1 - share) / STRIDE))
    # Of a map of one pixel, programs of PyTorch know that it is no larger one.
    return side - steps * STRIDE if side >= (steps + 1) * STRIDE else side + STRIDE


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(picture[None].float(), size, mode='bilinear',
                            antialias=True)[0]
    return resized if picture.is_floating_point() else resized.round().to(torch.uint8)
