"""An exported file in the place of the model that a data set's metric is for."""
from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ..errors import ArgumentError, CheckpointError
from .runtime import Arrays, ExportedModel, PredictionError


class ExportedPredictor(BaseModel):
    """Predicts with an exported file what an OpenMMLab model would.

    Args:
        path: A file that ``tools/export.py`` wrote.

    Raises:
        ArgumentError: It gives feature maps, for which there is no metric.
        CheckpointError: It cannot be used.
    """

    def __init__(self, path: str):
        super().__init__()
        try:
            self.exported = ExportedModel(path)
        except PredictionError as error:
            raise CheckpointError(str(error)) from error
        self.task = self.exported.metadata['task']
        if self.task not in _FILL:
            raise ArgumentError(f'{path} gives feature maps: export the whole model '
                                'to evaluate it.')

    def forward(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError('An exported file has test_step alone.')

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Return the data samples of a batch, predictions added.

        Args:
            data: ``inputs``, (3, H, W) uint8, BGR, each, and ``data_samples``.
        """
        for picture, sample in zip(data['inputs'], data['data_samples']):
            found = self.exported.restore(
                self.exported.run(picture[None].numpy()), tuple(picture.shape[1:]),
                tuple(sample.ori_shape[:2]))
            _FILL[self.task](sample, found)
        return data['data_samples']


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


_FILL: dict[str, Callable] = {
    'detection': _detection, 'segmentation': _segmentation,
    'classification': _classification}
