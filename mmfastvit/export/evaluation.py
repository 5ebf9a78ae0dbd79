"""An exported file in the place of the model that a data set's metric is for."""
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from mmfastvit.engine.runner import test
from mmfastvit.utils.errors import ArgumentError, CheckpointError
from mmfastvit_runtime import Arrays, ExportedModel, PredictionError, Resized

from .converters.remote import open_anywhere

# What is watched, and what a value has to be multiplied with to be in points.
METRICS = {'coco/bbox_mAP_50': 100, 'coco/segm_mAP_50': 100, 'mIoU': 1,
           'accuracy/top1': 1}


def metrics(cfg: Config, model: nn.Module) -> dict[str, float]:
    """Return those of ``METRICS`` that the test data has, in points.

    Args:
        cfg: Whose test data it is.
        model: A toolbox's, or :class:`ExportedPredictor`.
    """
    cfg = copy.deepcopy(cfg)
    cfg.log_level = 'WARNING'
    found = test(cfg, model, keep_log=False)
    return {name: float(found[name]) * factor for name, factor in METRICS.items()
            if name in found}


class ExportedPredictor(BaseModel):
    """Predicts with an exported file what an OpenMMLab model would.

    Args:
        path: A file that ``tools/export.py`` wrote.
        scope: The toolbox whose metric it is for: ``'mmdet'``, ``'mmseg'``,
            ``'mmpretrain'``, or for hands ``'mmengine'``.
        threads: How many it may use; None leaves it to the runtime.

    Raises:
        ArgumentError: It is for another task.
        CheckpointError: It cannot be used.
    """

    def __init__(self, path: str, scope: str, threads: int | None = None):
        super().__init__()
        try:
            self.exported = ExportedModel(open_anywhere(path, threads=threads))
        except PredictionError as error:
            raise CheckpointError(str(error)) from error
        task = self.exported.metadata['task']
        if task != _TASKS.get(scope):
            raise ArgumentError(f'{path} is for {task}, the config for '
                                f'{_TASKS.get(scope, scope)}: export the whole model '
                                'of this config to evaluate it.')
        self.resized, self.fill = _ROWS[task]

    def forward(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError('An exported file has test_step alone.')

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Return the data samples of a batch, predictions added.

        Args:
            data: ``inputs``, (3, H, W) uint8, BGR, each, and ``data_samples``.
        """
        pictures = [self.resized(picture.permute(1, 2, 0).numpy(), sample) for
                    picture, sample in zip(data['inputs'], data['data_samples'])]
        predictions = self.exported.predict_resized(pictures, len(pictures))
        for sample, found in zip(data['data_samples'], predictions):
            self.fill(sample, found)
        return data['data_samples']


def _resized(picture: np.ndarray, sample: BaseDataElement) -> Resized:
    """Return a picture of a data loader, with its sizes before."""
    original, content = tuple(sample.ori_shape[:2]), picture.shape[:2]
    if 'scale_factor' in sample:  # of the picture without its margin
        width, height = sample.scale_factor
        content = round(original[0] * height), round(original[1] * width)
    return Resized(picture, content, original)


def _as_given(picture: np.ndarray, sample: BaseDataElement) -> Resized:
    """Return a picture of a data loader as if it were the file's."""
    return Resized(picture, picture.shape[:2], picture.shape[:2])


def _detection(sample: BaseDataElement, found: Arrays) -> None:
    names = {'boxes': 'bboxes', 'scores': 'scores', 'labels': 'labels',
             'masks': 'masks'}
    sample.pred_instances = InstanceData(**{
        names[name]: torch.from_numpy(array) for name, array in found.items()})


def _segmentation(sample: BaseDataElement, found: Arrays) -> None:
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(found['labels'])[None])


def _classification(sample: BaseDataElement, found: Arrays) -> None:
    scores = torch.from_numpy(found['scores'])
    sample.set_pred_score(scores).set_pred_label(scores.argmax())


def _hand_mesh(sample: BaseDataElement, found: Arrays) -> None:
    # The sample knows how its picture was cut, too.
    pixels = sample.to_file(found['uv'].astype(np.float64))
    for name, array in {**found, 'uv': pixels.astype(np.float32)}.items():
        sample.set_field(torch.from_numpy(array), f'pred_{name}')


_TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation',
          'mmpretrain': 'classification', 'mmengine': 'hand_mesh'}
# By task: what returns a picture with its sizes, and what takes down what was found.
_ROWS: dict[str, tuple[Callable[..., Resized], Callable[..., None]]] = {
    'detection': (_resized, _detection), 'segmentation': (_resized, _segmentation),
    'classification': (_resized, _classification),
    'hand_mesh': (_as_given, _hand_mesh)}
