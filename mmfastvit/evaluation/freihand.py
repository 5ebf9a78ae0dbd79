"""What FreiHAND's official script measures."""
import json
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from scipy.integrate import trapezoid

from mmfastvit.utils.errors import ArgumentError
from mmfastvit.utils.files import whole_file

from .alignment import align, f_score, mean_shape

MILLIMETRES = 1000  # in a metre
F_DISTANCES = 5, 15  # millimetres
AUC_UP_TO, AUC_STEPS = 50, 100  # millimetres
ALIGNMENTS = {'official': True, 'without_reflections': False}


@METRICS.register_module()
class FreiHANDMetric(BaseMetric):
    """Errors of 3D hands after an alignment (PA), as FreiHAND's script computes them.

    ``PA-MPJPE`` and ``PA-MPVPE`` are mean distances of joints and of vertices, each
    aligned anew, in millimetres. ``F@5`` and ``F@15`` are F-scores of the aligned
    vertices, ``AUC`` is the area under the share of joints within 0 to 50 mm.
    (Zimmermann et al., FreiHAND, ICCV 2019, section 5.) Beside them, as a baseline,
    ``PA-MPJPE_of_mean_hand`` is what one hand, the mean of these truths, would get for
    all pictures.

    A sample holds ``gt_joints`` and ``pred_joints`` (21, 3), ``gt_vertices`` and
    ``pred_vertices`` (778, 3), in metres.

    Args:
        alignment: ``'official'``, which lets a hand be mirrored, or
            ``'without_reflections'``, as HMR and MMPose align.
        pred_file: Where to write predictions as the benchmark's server takes them,
            ``pred.json``: a list of all joints, and one of all vertices.
        collect_device: As in ``BaseMetric``.
        prefix: Before the names of the values; ``'freihand'`` by default.

    Raises:
        ArgumentError: ``alignment`` is none of those.
    """

    default_prefix = 'freihand'

    def __init__(self, alignment: str = 'official', pred_file: str | None = None,
                 collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device, prefix)
        if alignment not in ALIGNMENTS:
            raise ArgumentError(f'alignment={alignment!r}: allowed are '
                                f'{", ".join(ALIGNMENTS)}.')
        self.reflections = ALIGNMENTS[alignment]
        self.pred_file = pred_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            joints, vertices, true_joints, true_vertices = (
                torch.as_tensor(sample[key]).cpu().double().numpy() for key in (
                    'pred_joints', 'pred_vertices', 'gt_joints', 'gt_vertices'))
            aligned = align(vertices, true_vertices, self.reflections) * MILLIMETRES
            true_vertices = true_vertices * MILLIMETRES
            found = dict(
                joints=MILLIMETRES * np.linalg.norm(
                    align(joints, true_joints, self.reflections) - true_joints, axis=1),
                vertices=np.linalg.norm(aligned - true_vertices, axis=1).mean(),
                f_scores=[f_score(aligned, true_vertices, distance)
                          for distance in F_DISTANCES],
                truth=true_joints)
            if self.pred_file:
                found['predicted'] = joints.tolist(), vertices.tolist()
            self.results.append(found)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        if self.pred_file:
            lists = [list(part) for part in zip(*(r['predicted'] for r in results))]
            with whole_file(self.pred_file) as unfinished:
                unfinished.write_text(json.dumps(lists))
        distances = np.stack([r['joints'] for r in results])  # (samples, 21)
        f_scores = np.mean([r['f_scores'] for r in results], 0)
        return {'PA-MPJPE': float(distances.mean()),
                'PA-MPVPE': float(np.mean([r['vertices'] for r in results])),
                **{f'F@{distance}': float(score)
                   for distance, score in zip(F_DISTANCES, f_scores)},
                'AUC': area_under_curve(distances),
                'PA-MPJPE_of_mean_hand': self._of_mean_hand(
                    [r['truth'] for r in results])}

    def _of_mean_hand(self, truths: list[np.ndarray]) -> float:
        mean = mean_shape(truths, self.reflections)
        return float(MILLIMETRES * np.mean([np.linalg.norm(
            align(mean, truth, self.reflections) - truth, axis=1)
            for truth in truths]))


def area_under_curve(distances: np.ndarray) -> float:
    """Return the mean share of distances (samples, 21) within 0 to 50 mm.

    By the trapezoid rule in 100 steps, joint by joint.
    """
    limits = np.linspace(0, AUC_UP_TO, AUC_STEPS)
    shares = (distances <= limits[:, None, None]).mean(1)  # (steps, 21)
    return float((trapezoid(shares, limits, axis=0) / AUC_UP_TO).mean())
