"""An exported file beside the PyTorch model it was made from."""
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmfastvit.models.hands import HandDataSample
from mmfastvit_runtime import Arrays, ExportedModel

from .detection_sets import DetectionSets, rounded_anew

# Largest differences between float32 of a runtime and of PyTorch that additions in
# another order explain; a wrong graph is off by pixels and percents. A hand reaches
# about 0.1 m from its root: 1e-5 m are the share of it that features may be off.
TOLERANCES = {'boxes': 0.05, 'scores': 1e-4, 'masks': 1e-5, 'logits': 1e-4,
              'labels': 1e-4, 'features': 1e-4, 'uv': 0.05, 'joints': 1e-5,
              'vertices': 1e-5}
UNITS = {'boxes': 'pixels', 'scores': '', 'masks': "of all masks' pixels",
         'logits': 'of the largest', 'labels': 'of all pixels',
         'features': 'of the largest', 'uv': 'pixels', 'joints': 'metres',
         'vertices': 'metres'}
# Scores this near to the lowest that is kept, and values of this many pixels that are
# the threshold or another class's to the last digit, may fall on either side.
MARGIN = 1e-3
PIXELS = 4
# How often a detector is asked again whose boxes differ: two boxes may change places at
# every other time, and of ten with one score, each comes first once in ten.
ROUNDINGS = 32
PLAIN = 114  # the grey that detectors are padded with


@dataclass(frozen=True)
class Row:
    """One quantity of one picture.

    Attributes:
        size: Height and width of the picture.
        quantity: Of ``TOLERANCES``.
        compared: How many values, or detections, were compared.
        difference: The largest; infinity where the other side has nothing like it.
            ``boxes`` and ``uv`` in pixels; ``joints`` and ``vertices`` in metres;
            ``logits`` and ``features`` relative to the largest; of ``labels`` and
            ``masks`` the share of pixels that differ.
        allowed: The largest at which the file is kept.
    """

    size: tuple[int, int]
    quantity: str
    compared: int
    difference: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.allowed  # False for NaN


def verify(model: nn.Module, exported: ExportedModel, pictures: list[Tensor]
           ) -> list[Row]:
    """Run pictures through an exported file and through PyTorch, and compare.

    Args:
        model: MMDetection's, MMSegmentation's or MMPretrain's own, or for hands ours;
            its ``test_step`` is what the file has to compute.
        exported: The file.
        pictures: (3, H, W) uint8 each, BGR.
    """
    rows = []
    for i, picture in enumerate(pictures):
        size = tuple(picture.shape[1:])
        batch = [picture]
        if i > 0 and exported.metadata['batch'] is None:
            # In a plain one most detectors find nothing.
            batch = [torch.full_like(picture, PLAIN), picture]
        found = exported.split(exported.run(torch.stack(batch).numpy()), len(batch))
        for own, of_file in zip(batch, found):
            with torch.no_grad():
                compared = _COMPARED[exported.metadata['task']](
                    model, exported, of_file, own)
            for name, count, difference in compared:
                allowed = TOLERANCES[name]
                if name in ('labels', 'masks') and count:
                    values = count * (size[0] * size[1] if name == 'masks' else 1)
                    allowed = max(allowed, PIXELS / values)
                rows.append(Row(size, name, count, float(difference), allowed))
    return rows


def table(rows: list[Row]) -> str:
    """Return the comparison as text, a line for each picture and quantity."""
    lines = []
    for row in rows:
        line = f'  {row.size[0]:>4} x {row.size[1]:<4}  {row.quantity:<8}  '
        line += (f'{row.compared:>8} compared, differ by {row.difference:.1e} '
                 f'{UNITS[row.quantity]} at most' if row.compared else
                 'NOT compared: there are no detections')
        lines.append(line if row.passed else f'{line}  MORE THAN {row.allowed:.0e}')
    return '\n'.join(lines)


Compared = list[tuple[str, int, float]]  # quantity, how many, largest difference


def _features(model: nn.Module, exported: ExportedModel, found: Arrays,
              picture: Tensor) -> Compared:
    inputs = model.data_preprocessor(_batch(picture, BaseDataElement()))['inputs']
    part = model.extract_feat if 'embedding' in found else model.backbone
    return [('features', x.numel(), _relative(got, x[:1].numpy()))
            for got, x in zip(found.values(), part(inputs), strict=True)]


def _classification(model: nn.Module, exported: ExportedModel, found: Arrays,
                    picture: Tensor) -> Compared:
    from mmpretrain.structures import DataSample
    sample, = model.test_step(_batch(picture, DataSample()))
    expected = sample.pred_score.numpy()
    return [('scores', len(expected), np.abs(found['scores'][0] - expected).max())]


def _segmentation(model: nn.Module, exported: ExportedModel, found: Arrays,
                  picture: Tensor) -> Compared:
    from mmseg.structures import SegDataSample
    sample, = model.test_step(_batch(picture, SegDataSample()))
    logits, labels = (element.data.numpy() for element in
                      (sample.seg_logits, sample.pred_sem_seg))
    return [('logits', logits.size, _relative(found['logits'][0], logits)),
            ('labels', labels.size, (found['labels'][0] != labels[0]).mean())]


def _hand_mesh(model: nn.Module, exported: ExportedModel, found: Arrays,
               picture: Tensor) -> Compared:
    size = tuple(picture.shape[1:])
    found = exported.restore(found, size, size)
    sample, = model.test_step(_batch(picture, HandDataSample()))
    return [(name, array.size, _away(array, sample.get(f'pred_{name}').numpy()))
            for name, array in found.items()]


def _detection(model: nn.Module, exported: ExportedModel, found: Arrays,
               picture: Tensor) -> Compared:
    size = tuple(picture.shape[1:])
    found = exported.restore(found, size, size)
    expected = _detect(model, picture, found)
    limit = exported.metadata['score_threshold']
    for side in (found, expected):
        if len(side['scores']) == exported.metadata.get('max_detections'):
            limit = max(limit, side['scores'].min())
    sets = DetectionSets(found, expected, limit + MARGIN, TOLERANCES['boxes'])
    with rounded_anew(model):
        for _ in range(ROUNDINGS):
            if sets.compared()['boxes'][1] <= TOLERANCES['boxes']:
                break
            sets.consider(_detect(model, picture, found))
    return [(name, *values) for name, values in sets.compared().items()]


def _detect(model: nn.Module, picture: Tensor, like: Arrays) -> Arrays:
    """Return what PyTorch finds, with the names of what a file found."""
    from mmdet.structures import DetDataSample
    sample, = model.test_step(_batch(picture, DetDataSample()))
    instances = sample.pred_instances.numpy()
    return {name: instances[{'boxes': 'bboxes'}.get(name, name)] for name in like}


_COMPARED = {'detection': _detection, 'segmentation': _segmentation,
             'classification': _classification, 'features': _features,
             'hand_mesh': _hand_mesh}


def _batch(picture: Tensor, sample: BaseDataElement) -> dict:
    """Return one picture as a data loader gives it."""
    size = tuple(picture.shape[1:])
    sample.set_metainfo(dict(img_shape=size, ori_shape=size, pad_shape=size,
                             scale_factor=(1., 1.), img_id=0))
    return dict(inputs=[picture], data_samples=[sample])


def _away(got: np.ndarray, expected: np.ndarray) -> float:
    return (np.abs(got - expected).max() if got.shape == expected.shape else
            float('inf'))


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    return _away(got, expected) / max(np.abs(expected).max(), 1e-30)
