"""Pictures of what a model sees, through the toolboxes' visualisers."""
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from torch import nn

from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.data import check_data
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.backbone import find_backbone
from mmfastvit.utils.errors import ArgumentError, DataError
from mmfastvit.utils.files import check_targets, whole_file
from mmfastvit.utils.progress import track
from mmfastvit_runtime import PredictionError, read_picture
from mmfastvit_runtime.sources import is_video, list_pictures


@torch.no_grad()
def draw_predictions(cfg: Config, checkpoint: str, out: str,
                     source: str | None = None, num_pictures: int | None = None,
                     features: bool = False) -> list[Path]:
    """Draw what a detector, segmentor or classifier predicts.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        checkpoint: Checkpoint of the whole model, or a work directory.
        out: Folder for the results, made if it does not exist.
        source: A picture, a folder of pictures or a video; None takes the test
            data set, with ground truth beside the prediction.
        num_pictures: How many to draw: the first of ``source``, by default all;
            of the test data set some from all over it, by default four.
        features: Draw the backbone's feature maps, too, as
            ``NAME_features.png`` (not for a video).

    Returns:
        The files written: a picture for each picture, a video for a video. They
        have the names of their sources; where ``a.jpg`` and ``a.png`` would become
        one, whole names, ``a.jpg.png`` and ``a.png.png``.

    Raises:
        ArgumentError: A result would replace what it is drawn from.
        CheckpointError: The checkpoint cannot be read or does not fit.
        DataError: The test data is missing, or ``source`` is or holds what cannot
            be read; of a folder, the other pictures are drawn.
    """
    if source is None:
        check_data(cfg, 'test')
    elif Path(out).resolve() in (Path(source).resolve(),
                                 Path(source).resolve().parent):
        raise ArgumentError(f'{out} is where {source} is: results could replace '
                            'pictures of the same name. Name another folder.')
    check_targets([out])
    runner = build_runner(cfg, keep_log=False)
    load_weights(runner.model, checkpoint)
    runner.model.eval()
    runner.visualizer.dataset_meta = _metainfo(cfg)
    out = Path(out)
    if source is not None and is_video(Path(source)):
        return [_draw_video(runner, cfg, Path(source), out, num_pictures)]
    files, damaged = [], []
    for name, path, item in _items(runner, cfg, source, num_pictures, features,
                                   damaged):
        targets = [out / f'{name}.png', out / f'{name}_features.png'][:1 + features]
        check_targets(targets, [path])
        batch = pseudo_collate([item])
        sample = runner.model.test_step(batch)[0].cpu()
        _draw(runner.visualizer, _read(path), sample, targets[0])
        if features:
            _draw_features(runner.model, batch, targets[1])
        files += targets
    if damaged:
        raise DataError(f'{len(damaged)} of the pictures could not be read; {out} has '
                        f'the {len(files)} drawings of the others. '
                        f'{" ".join(damaged[:10])}')
    return files


def draw_ground_truth(cfg: Config, out: str, split: str = 'train',
                      num_pictures: int = 4) -> list[Path]:
    """Draw pictures of a data set with their ground truth.

    Training pictures as the pipeline hands them to the model, augmented; the
    others as they are on disk, which is what they are evaluated on.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        out: Folder for the pictures, made if it does not exist.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num_pictures: How many to draw, from the first on.

    Returns:
        The files written.

    Raises:
        DataError: The data is missing.
    """
    check_data(cfg, split)
    runner = build_runner(cfg, keep_log=False)
    dataset = runner.build_dataloader(cfg[f'{split}_dataloader']).dataset
    runner.visualizer.dataset_meta = dataset.metainfo
    files = []
    for i in range(min(num_pictures, len(dataset))):
        item = dataset[i]
        sample = item['data_samples']
        for instances in sample.values():
            _to_arrays(instances)
        files.append(Path(out) / f'{i:04d}_{Path(sample.img_path).stem}.png')
        check_targets(files[-1:], [sample.img_path])
        if split == 'train':
            sample.pop('warp', None)  # the picture is the cut one
        picture = (_to_rgb(item['inputs']) if split == 'train'
                   else _read(Path(sample.img_path)))
        _draw(runner.visualizer, picture, sample, files[-1], draw_pred=False)
    return files


def _metainfo(cfg: Config) -> dict:
    """Return class names and colours without reading the data set."""
    return DATASETS.build(dict(cfg.test_dataloader.dataset,
                               lazy_init=True)).metainfo


def _items(runner: Runner, cfg: Config, source: str | None, num_pictures: int | None,
           features: bool, damaged: list[str]) -> Iterator[tuple[str, Path, dict]]:
    """Yield (name, file, what the test pipeline makes of it).

    Of a folder, what cannot be read is left out, and told in ``damaged``.
    """
    if source is None:
        dataset = runner.test_dataloader.dataset
        count = min(num_pictures or 4, len(dataset))
        for i in (k * len(dataset) // count for k in range(count)):
            path = Path(dataset.get_data_info(i)['img_path'])
            yield f'{i:04d}_{path.stem}', path, dataset[i]
        return
    pipeline = _pipeline(cfg)
    paths = _pictures(Path(source))[:num_pictures]
    for path, name in zip(track(paths, 'Drawing'), _names(paths, features)):
        try:
            item = _prepare(path, pipeline)
        except DataError as error:
            if len(paths) == 1:
                raise
            damaged.append(str(error))
            continue
        yield name, path, item


def _prepare(path: Path, pipeline: Compose) -> dict:
    """Return what the test pipeline makes of a picture."""
    height, width = _read(path).shape[:2]  # says what is wrong
    try:
        return pipeline(dict(img_path=str(path), img_id=0))
    except Exception as error:  # OpenCV's, of sides that become 0
        raise DataError(f'The test pipeline cannot prepare {path}, {width} x {height}: '
                        f'{error} Crop it to another shape.') from error


def _names(paths: list[Path], features: bool) -> list[str]:
    """Return names for drawings, without suffix unless that tells files apart."""
    def drawings(name: str) -> list[str]:  # some systems take A and a for the same
        return [name.lower(), f'{name}_features'.lower()][:1 + features]

    counts = Counter(drawing for path in paths for drawing in drawings(path.stem))
    return [path.stem if all(counts[drawing] == 1 for drawing in drawings(path.stem))
            else path.name for path in paths]


def _pipeline(cfg: Config) -> Compose:
    """Return the test pipeline for pictures without annotations."""
    return Compose([step for step in cfg.test_dataloader.dataset.pipeline
                    if 'Annotations' not in getattr(step['type'], '__name__',
                                                    step['type'])])


def _pictures(source: Path) -> list[Path]:
    """Return the pictures that ``source`` is or holds, in order of names."""
    try:
        return list_pictures(source)
    except PredictionError as error:
        raise DataError(str(error)) from error


def _read(path: Path) -> np.ndarray:
    """Return a picture, (H, W, 3) uint8, RGB."""
    try:
        return np.ascontiguousarray(read_picture(path)[..., ::-1])
    except PredictionError as error:
        raise DataError(str(error)) from error


def _draw(visualizer: Visualizer, picture: np.ndarray, sample: BaseDataElement,
          out_file: Path, draw_pred: bool = True) -> None:
    """Draw one picture with the visualiser of its toolbox."""
    if hasattr(visualizer, 'visualize_cls'):
        # Its text has a fixed size, for which small pictures leave no room. The shorter
        # side becomes 320: a line's other side would become a million.
        short, long = sorted(picture.shape[:2])
        small = dict(resize=320) if short < 320 and long <= 16 * short else {}
        visualizer.visualize_cls(picture, sample, draw_pred=draw_pred,
                                 out_file=str(out_file), **small)
    else:
        visualizer.add_datasample(out_file.stem, picture, sample,
                                  draw_pred=draw_pred, out_file=str(out_file))


def _draw_features(model: nn.Module, batch: dict, out_file: Path) -> None:
    """Draw the mean over channels of each map over the padded picture."""
    from matplotlib.figure import Figure
    inputs = model.data_preprocessor(batch)['inputs']
    picture = _to_rgb(batch['inputs'][0])
    height, width = inputs.shape[2:]
    picture = np.pad(picture, ((0, height - picture.shape[0]),
                               (0, width - picture.shape[1]), (0, 0)))
    backbone = find_backbone(model)
    maps = backbone(inputs)
    figure = Figure(figsize=(3 * (1 + len(maps)), 3 * height / width + 0.5),
                    layout='constrained')
    panels = figure.subplots(1, 1 + len(maps))
    panels[0].imshow(picture)
    panels[0].set_title(f'{width} x {height}')
    for panel, stage, x in zip(panels[1:], backbone.out_indices, maps):
        resized = F.interpolate(x[:1], picture.shape[:2], mode='bilinear')[0]
        panel.imshow(Visualizer.draw_featmap(resized, picture, alpha=0.3))
        panel.set_title(f'stage {stage + 1}: {x.shape[1]} of '
                        f'{x.shape[3]} x {x.shape[2]}')
    for panel in panels:
        panel.set_axis_off()
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file)


def _draw_video(runner: Runner, cfg: Config, source: Path, out: Path,
                num_frames: int | None) -> Path:
    import cv2
    import mmcv
    video = mmcv.VideoReader(str(source)) if source.exists() else []
    count = min(num_frames or len(video), len(video))
    if not count:
        raise DataError(f'{source} is not there, or is no video that OpenCV reads.')
    pipeline = _pipeline(cfg)
    out_file = out / f'{source.stem}.mp4'
    writer = None
    with tempfile.TemporaryDirectory() as folder, whole_file(
            out_file, sources=[source]) as unfinished:
        for _, frame in zip(track(range(count), 'Drawing'), video):
            # By way of a file, as the toolboxes read and write pictures.
            path, drawn = Path(folder, 'frame.png'), Path(folder, 'drawn.png')
            mmcv.imwrite(frame, str(path))
            item = pipeline(dict(img_path=str(path), img_id=0))
            sample = runner.model.test_step(pseudo_collate([item]))[0].cpu()
            _draw(runner.visualizer, _read(path), sample, drawn)
            picture = mmcv.imread(str(drawn))
            if writer is None:
                size = picture.shape[1::-1]
                writer = cv2.VideoWriter(
                    str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), video.fps, size)
            writer.write(mmcv.imresize(picture, size))
        writer.release()
    return out_file


def _to_rgb(picture: torch.Tensor) -> np.ndarray:
    """Map (C, H, W) uint8 to (H, W, 3), RGB.

    Of three channels or more the first three are BGR; one is grey, of two the third
    is black.
    """
    if len(picture) == 1:
        picture = picture.expand(3, -1, -1)
    elif len(picture) == 2:
        picture = torch.cat([picture, torch.zeros_like(picture[:1])])
    return picture[:3].flip(0).permute(1, 2, 0).contiguous().numpy()


def _to_arrays(instances: Any) -> None:
    """Replace MMDetection's classes of boxes and masks, which it cannot draw."""
    if hasattr(getattr(instances, 'bboxes', None), 'tensor'):
        instances.bboxes = instances.bboxes.tensor
    if hasattr(getattr(instances, 'masks', None), 'to_ndarray'):
        instances.masks = instances.masks.to_ndarray().astype(bool)
