"""What tells a file that rounds in its own way from one that is wrong."""
import copy

import numpy as np
import pytest
import torch

pytest.importorskip('onnxruntime')

from helpers import build_model, randomize  # noqa: E402
from mmfastvit import reparameterize  # noqa: E402
from mmfastvit.export import verification  # noqa: E402
from mmfastvit.export.detection_sets import ROUNDING, DetectionSets  # noqa: E402
from mmfastvit.export.metadata import describe  # noqa: E402
from mmfastvit.export.models import exportable  # noqa: E402
from mmfastvit.export.verification import verify  # noqa: E402
from mmfastvit_runtime import ExportedModel  # noqa: E402
from mmfastvit_runtime.engines import Engine  # noqa: E402


class Stub(Engine):
    """A file that computes what a function does."""

    def __init__(self, metadata, function):
        self.metadata, self.function = metadata, function

    def run(self, pictures):
        return self.function(torch.from_numpy(pictures))


@pytest.fixture(scope='module')
def case():
    """A detector among whose scores are many that are equal but for roundings."""
    torch.manual_seed(0)
    cfg, model = build_model('maskrcnn_fastvit_sa12_shapes.py')
    model.test_cfg.rpn.update(nms_pre=100, max_per_img=50)
    model.test_cfg.rcnn.update(max_per_img=150)
    model = reparameterize(randomize(model.eval()))
    for layer in (model.rpn_head.rpn_cls, model.roi_head.bbox_head.fc_cls):
        layer.weight.data.mul_(2e-4)
    task, module = exportable(model, False)
    metadata = describe(cfg, model, task, module, ['a', 'b', 'c'], [[0, 0, 0]] * 3,
                        None, 1)
    pictures = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)]

    def outcome(change=lambda module: None, after=lambda found: found):
        changed = copy.deepcopy(module)
        change(changed.model)

        @torch.no_grad()
        def run(batch):
            found = dict(zip(module.outputs, changed(batch)))
            return after({name: x.numpy() for name, x in found.items()})

        return model, ExportedModel(Stub(metadata, run)), pictures

    return outcome


def round_anew(seed):
    """Return a change: heads whose outputs are off as another runtime's are."""
    def change(model):
        random = torch.Generator().manual_seed(seed)
        for layer in (model.rpn_head.rpn_cls, model.rpn_head.rpn_reg,
                      model.roi_head.bbox_head.fc_cls,
                      model.roi_head.bbox_head.fc_reg):
            layer.register_forward_hook(lambda layer, inputs, output: output + (
                ROUNDING / 5 * torch.randn(output.shape, generator=random)))
    return change


def test_other_roundings_pass(case, monkeypatch):
    """Though they make suppression keep other boxes, pixels away."""
    cases = [case(round_anew(seed)) for seed in range(4)]
    for one in cases:
        rows = verify(*one)
        assert all(row.passed for row in rows), rows
        assert all(row.compared > 10 for row in rows), rows
    monkeypatch.setattr(verification, 'ROUNDINGS', 0)
    assert not all(row.passed for one in cases for row in verify(*one))


def no_suppression(model):
    model.test_cfg.rcnn.nms.iou_threshold = 1.


def no_suppression_of_regions(model):
    model.test_cfg.rpn.nms.iou_threshold = 1.


def other_anchors(model):
    model.rpn_head.prior_generator.base_anchors = [
        anchors + 4 for anchors in model.rpn_head.prior_generator.base_anchors]


def other_scores(model):
    model.roi_head.bbox_head.fc_cls.bias.data[0] += 0.01


def moved(found):
    return {**found, 'boxes': found['boxes'] + 0.1}


def first_missing(found):
    return {name: array - 1 if name == 'count' else array[:, 1:]
            for name, array in found.items()}


def nothing(found):
    return {**found, 'count': 0 * found['count']}


def not_a_number(found):
    return {**found, 'boxes': found['boxes'] * np.float32('nan')}


def swapped_labels(found):
    return {**found, 'labels': 1 - found['labels'].clip(0, 1)}


@pytest.mark.parametrize('change', [
    no_suppression, no_suppression_of_regions, other_anchors, other_scores])
def test_other_graphs_fail(change, case):
    assert not all(row.passed for row in verify(*case(change)))


@pytest.mark.parametrize('after', [
    moved, first_missing, nothing, not_a_number, swapped_labels])
def test_other_outputs_fail(after, case):
    assert not all(row.passed for row in verify(*case(after=after)))


def test_one_nan_among_many_fails():
    """Though it is of an object of which PyTorch finds none that counts."""
    objects = dict(boxes=np.array([[0, 0, 9, 9], [20, 20, 29, 29]], np.float32),
                   scores=np.array([0.9, 0.1], np.float32), labels=np.array([0, 1]))
    broken = {**objects, 'scores': np.array([0.9, 0.9], np.float32),
              'boxes': objects['boxes'] * [[1.], [np.nan]]}
    compared = DetectionSets(broken, objects, 0.5, 0.05).compared()
    assert np.isnan(compared['boxes'][1]) and compared['boxes'][0] == 2


def test_what_nothing_is_stable_of_counts():
    """An empty file is not right because PyTorch's objects all moved."""
    objects = dict(boxes=np.array([[0, 0, 9, 9]], np.float32),
                   scores=np.array([0.9], np.float32), labels=np.array([0]))
    empty = {name: array[:0] for name, array in objects.items()}
    sets = DetectionSets(empty, objects, 0.5, 0.05)
    sets.consider({**objects, 'boxes': objects['boxes'] + 5})
    assert sets.compared() == {'boxes': (1, np.inf), 'scores': (1, np.inf)}


def test_the_model_is_left_as_it_was(case):
    model, exported, pictures = case(no_suppression)
    verify(model, exported, pictures)
    assert not any(module._forward_hooks for module in model.modules())
