"""The official measures of hands: against scipy, by brute force, and by hand."""
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmfastvit import ArgumentError
from mmfastvit.evaluation import FreiHANDMetric
from mmfastvit.evaluation.alignment import align, f_score
from mmfastvit.evaluation.freihand import area_under_curve

# Millimetres: the official script adds 1e-8 to the lengths that it divides by.
ROUNDING = 1e-4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def hand(rng, points=778):
    return rng.normal(size=(points, 3)) * 0.03 + [0.1, 0., 0.7]


def evaluate(samples, **options):
    metric = FreiHANDMetric(**options)
    metric.process({}, samples)
    return {name.split('/')[1]: value
            for name, value in metric.evaluate(len(samples)).items()}


def sample(joints, vertices, true_joints, true_vertices):
    return dict(pred_joints=joints, pred_vertices=vertices, gt_joints=true_joints,
                gt_vertices=true_vertices)


def similar(points, rng):
    rotation = Rotation.random(random_state=rng.integers(1000)).as_matrix()
    return points @ rotation.T * 1.7 + [0.3, -2., 5.]


@pytest.mark.parametrize('change', ['same', 'similar', 'in one place'])
def test_errors_of_known_hands(change, rng):
    samples = []
    for _ in range(3):
        joints, vertices = hand(rng, 21), hand(rng)
        found = {'same': lambda x, _: x, 'similar': similar,
                 'in one place': lambda x, _: np.zeros_like(x)}[change]
        samples.append(sample(found(joints, rng), found(vertices, rng), joints,
                              vertices))
    values = evaluate(samples)
    if change == 'in one place':  # FreiHAND's own check: a prediction of zeros
        spread = [1000 * np.linalg.norm(s['gt_joints'] - s['gt_joints'].mean(0),
                                        axis=1).mean() for s in samples]
        assert values['PA-MPJPE'] == pytest.approx(np.mean(spread), rel=1e-6)
        return
    assert values['PA-MPJPE'] < ROUNDING and values['PA-MPVPE'] < ROUNDING
    assert values['F@5'] == values['F@15'] == 1.
    # Of 100 limits the first is 0, which rounding exceeds.
    assert values['AUC'] == pytest.approx(1., abs=0.006)


def test_mirrored_hands(rng):
    """The official script forgives them."""
    joints, vertices = hand(rng, 21), hand(rng)
    samples = [sample(joints * [-1, 1, 1], vertices * [-1, 1, 1], joints, vertices)]
    assert evaluate(samples)['PA-MPJPE'] < ROUNDING
    assert evaluate(samples, alignment='without_reflections')['PA-MPJPE'] > 5


@pytest.mark.parametrize('reflections', [False, True])
def test_nothing_is_nearer_than_what_is_aligned(reflections, rng):
    target, points = hand(rng, 21), hand(rng, 21)
    best = np.square(align(points, target, reflections) - target).sum()
    moved = align(points, target, reflections)
    centre = moved.mean(0)
    for _ in range(200):
        turn = Rotation.from_rotvec(rng.normal(size=3) * 0.02).as_matrix()
        other = (moved - centre) @ turn.T * rng.normal(1, 0.02) + centre
        assert np.square(other - target).sum() >= best


def test_without_reflections_as_scipy_turns(rng):
    target, points = hand(rng, 21), hand(rng, 21)
    wanted, moved = target - target.mean(0), points - points.mean(0)
    turn, _ = Rotation.align_vectors(wanted, moved)
    turned = turn.apply(moved)
    expected = turned * (turned * wanted).sum() / (turned**2).sum() + target.mean(0)
    assert np.allclose(align(points, target, reflections=False), expected, atol=1e-8)


def test_f_score_by_brute_force(rng):
    points, target = hand(rng, 40), hand(rng, 30)
    distances = np.linalg.norm(points[:, None] - target[None], axis=2)
    for distance in (0.02, 0.03, 0.05):
        precision = (distances.min(1) < distance).mean()
        recall = (distances.min(0) < distance).mean()
        expected = 2 * precision * recall / (precision + recall)
        assert f_score(points, target, distance) == pytest.approx(expected)
    assert f_score(points, target + 100, 0.015) == 0.


def test_area_under_curve():
    assert area_under_curve(np.zeros((2, 21))) == pytest.approx(1.)
    assert area_under_curve(np.full((2, 21), 60.)) == 0.
    # Half of the limits let a distance of 25 mm pass.
    assert area_under_curve(np.full((2, 21), 25.)) == pytest.approx(0.5, abs=0.01)


def test_predictions_for_the_server(tmp_path, rng):
    truths = [(hand(rng, 21), hand(rng)) for _ in range(2)]
    evaluate([sample(*truth, *truth) for truth in truths],
             pred_file=str(tmp_path / 'pred.json'))
    joints, vertices = json.loads((tmp_path / 'pred.json').read_text())
    assert np.allclose(joints, [truth[0] for truth in truths])
    assert np.allclose(vertices, [truth[1] for truth in truths])


def test_an_unknown_alignment():
    with pytest.raises(ArgumentError, match='official, without_reflections'):
        FreiHANDMetric(alignment='best')
