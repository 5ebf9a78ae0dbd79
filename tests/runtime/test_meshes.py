"""Meshes drawn into pictures: what hides what, and any numbers."""
import numpy as np
import pytest

from mmfastvit_runtime import PredictionError, meshes
from mmfastvit_runtime.meshes import (
    AMBIENT,
    BONES,
    FINGER_COLOURS,
    GROUND,
    draw_bones,
    draw_mesh,
    place_on_picture,
    side_view,
)

AHEAD = (0., 0., -1.)  # a lamp at the camera
WHITE = (255, 255, 255)
NASTY = np.array([0, -1, 5, 30, 1e4, 2**31, -2**31, 1e30, -1e30, 3e38, 1e300, np.nan,
                  np.inf, -np.inf])


def plane(size=60):
    return np.zeros((size, size, 3), np.uint8)


def ball(rings=13, ring=16):
    """Return vertices (n, 3) and outward faces of a ball of radius 1."""
    angle, turn = np.meshgrid(np.linspace(0, np.pi, rings), np.arange(ring) / ring
                              * 2 * np.pi, indexing='ij')
    vertices = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn),
                         np.cos(angle)], -1).reshape(-1, 3)
    a = np.arange((rings - 1) * ring)
    right = a // ring * ring + (a + 1) % ring
    return vertices, np.concatenate([np.stack([a, a + ring, right], 1),
                                     np.stack([right, a + ring, right + ring], 1)])


def test_the_nearer_hides_the_farther():
    far = np.array([[5, 5, 9.], [50, 5, 9.], [25, 50, 9.]])
    near = np.array([[5, 45, 1.], [55, 40, 1.], [25, 8, 5.]])
    vertices = np.concatenate([far, near])
    alone, together = plane(), [plane(), plane()]
    draw_mesh(alone, near[:, :2], near, [[0, 1, 2]])
    for picture, faces in zip(together, ([[0, 1, 2], [3, 4, 5]],
                                         [[3, 4, 5], [0, 1, 2]])):
        draw_mesh(picture, vertices[:, :2], vertices, faces)
    np.testing.assert_array_equal(*together)
    inside = (alone == alone[30, 25]).all(2)
    assert inside.sum() > 500
    np.testing.assert_array_equal(together[0][inside], alone[inside])
    assert together[0][8, 10].any() and not alone[8, 10].any()  # the farther


def test_each_face_has_its_colour():
    """Hidden and unusable faces take their colours along."""
    square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], float)
    vertices = np.concatenate([np.pad(square + [2, 2], ((0, 0), (0, 1)))
                               + [0, 0, depth] for depth in (1., 2., 3.)])
    vertices[8:, 0] += 10
    vertices = np.concatenate([vertices, [[np.nan] * 3]])
    faces = [[12, 0, 1], [0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7], [8, 9, 10],
             [8, 10, 11]]
    colours = np.array([9, 50, 50, 100, 100, 200, 200])[:, None].repeat(3, 1)
    picture = np.zeros((14, 24, 3), np.uint8)
    draw_mesh(picture, vertices[:, :2], vertices, faces, colours, (0., 0., -1.))
    assert (picture[4:9, 4:9] == 50).all() and (picture[4:9, 14:19] == 200).all()


def test_faces_leave_no_gaps_and_edges_are_smooth():
    vertices, faces = ball()
    picture = plane()
    draw_mesh(picture, vertices[:, :2] * 20 + 29.5, vertices, faces, WHITE, AHEAD)
    y, x = np.mgrid[:60, :60] - 29.5
    distance = np.hypot(x, y)
    assert (picture[distance < 19] >= 255 * AMBIENT - 1).all()
    assert not picture[distance > 21.5].any()
    rim = picture[(distance > 19) & (distance < 21.5)]
    assert ((rim > 5) & (rim < 255 * AMBIENT - 5)).any()


def test_pixels_are_where_points_say():
    """The centre of the first pixel is (0, 0)."""
    points = np.array([[9.25, 4.25], [19.75, 4.25], [19.75, 24.75], [9.25, 24.75]])
    picture, expected = plane(), plane()
    draw_mesh(picture, points, np.pad(points, ((0, 0), (0, 1))),
              [[0, 1, 2], [0, 2, 3]], WHITE, AHEAD)
    # A pixel's quarters are drawn whose middles lie on the edge or within.
    expected[4:26, 9:21] = 64
    expected[4:26, 10:20] = expected[5:25, 9:21] = 128
    expected[5:25, 10:20] = 255
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize('light, share', [
    (AHEAD, 1), ((0, 0, 1), AMBIENT), ((5, 0, 0), AMBIENT),
    ((0, -2, -2), AMBIENT + (1 - AMBIENT) / 2 ** .5)])
@pytest.mark.parametrize('face', [[0, 1, 2], [0, 2, 1]])
def test_light_is_the_cosine(light, share, face):
    points = np.array([[5, 5, 2.], [50, 5, 2.], [25, 50, 2.]])
    picture = plane()
    draw_mesh(picture, points[:, :2], points, [face], (200, 100, 50), light)
    np.testing.assert_allclose(picture[20, 25], share * np.array([200, 100, 50]),
                               atol=0.51)  # OpenCV rounds


def test_a_ball_is_brightest_where_the_light_comes_from():
    vertices, faces = ball()
    picture = plane()
    draw_mesh(picture, vertices[:, :2] * 20 + 29.5, vertices, faces, WHITE,
              (-1, 0, -1))
    row = picture[30, :, 0].astype(int)
    assert row[16] > row[30] > row[44]  # the left is a direction of -x


def test_what_is_outside_changes_nothing():
    vertices, faces = ball()
    for place in ([-200, 20], [20, 900], [1e9, 1e9]):
        picture = plane()
        draw_mesh(picture, vertices[:, :2] * 20 + place, vertices, faces)
        assert not picture.any()
    picture, whole = plane(), np.zeros((60, 120, 3), np.uint8)
    points = np.rint(vertices[:, :2] * 80) / 4  # exact, wherever they are
    draw_mesh(picture, points + [0, 30], vertices, faces, WHITE, AHEAD)
    draw_mesh(whole, points + [60, 30], vertices, faces, WHITE, AHEAD)
    # At the border OpenCV cuts faces' edges, which then may take the next pixel.
    np.testing.assert_array_equal(picture[:, 1:], whole[:, 61:])
    np.testing.assert_array_equal(picture[:, 0].any(1), whole[:, 60].any(1))


def test_large_meshes_are_drawn_without_smooth_edges(monkeypatch):
    vertices, faces = ball()
    smooth, coarse = plane(), plane()
    points = vertices[:, :2] * 20 + 29.5
    draw_mesh(smooth, points, vertices, faces, WHITE, AHEAD)
    monkeypatch.setattr(meshes, 'MAX_FINE_PIXELS', 0)
    draw_mesh(coarse, points, vertices, faces, WHITE, AHEAD)
    drawn = coarse.any(2)
    assert (coarse[drawn] >= 255 * AMBIENT - 1).all()  # all or nothing
    y, x = np.mgrid[:60, :60] - 29.5
    assert (drawn[np.hypot(x, y) < 19]).all() and not drawn[np.hypot(x, y) > 22].any()
    assert (smooth != coarse).any()


@pytest.mark.parametrize('joined', [True, False])
def test_any_numbers(joined):
    random = np.random.RandomState(0)
    faces = random.randint(0, 40, (60, 3)) if joined else []
    for _ in range(20):
        points, vertices = random.choice(NASTY, (40, 2)), random.choice(NASTY, (40, 3))
        picture = plane(30)
        draw_mesh(picture, points, vertices, faces)
        draw_bones(picture, points[:21])
        assert side_view(vertices, faces, 50).shape == (50, 50, 3)
        place_on_picture(vertices[:21], points[:21], vertices)


@pytest.mark.parametrize('broken', [np.nan, np.inf, -1e35])
def test_only_what_hangs_on_a_broken_point_is_left_out(broken):
    vertices, faces = ball()
    points = vertices[:, :2] * 20 + 29.5
    expected, picture = plane(), plane()
    kept = faces[(faces != 40).all(1)]
    for damaged in (points, vertices):
        damaged[40, 0] = broken
    assert len(kept) < len(faces)
    draw_mesh(picture, points, vertices, faces)
    draw_mesh(expected, points, vertices, kept)
    np.testing.assert_array_equal(picture, expected)
    draw_mesh(picture, points * np.nan, vertices, faces)
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize('points, vertices, faces', [
    (np.zeros((4, 2)), np.zeros((5, 3)), [[0, 1, 2]]),
    (np.zeros((5, 3)), np.zeros((5, 3)), [[0, 1, 2]]),
    (np.zeros((5, 2)), np.zeros((5, 2)), []),
    (np.zeros((5, 2)), np.zeros((5, 3)), [[0, 1, 5]]),
    (np.zeros((5, 2)), np.zeros((5, 3)), [[0, 1, -1]]),
])
def test_arrays_that_do_not_fit(points, vertices, faces):
    with pytest.raises(PredictionError, match='of the same mesh'):
        draw_mesh(plane(), points, vertices, faces)


def test_bones_are_a_tree_of_all_joints():
    assert len(BONES) == 20 and sorted(end for _, end in BONES) == list(range(1, 21))
    assert [end for start, end in BONES if start == 0] == [1, 5, 9, 13, 17]
    assert all(end == start + 1 for start, end in BONES if start)


def test_each_finger_has_its_colour():
    joints = np.array([[50, 95.]] + [[10 + 20 * finger, 70 - 15 * step]
                                     for finger in range(5) for step in range(4)])
    picture = plane(100)
    draw_bones(picture, joints)
    for finger, colour in enumerate(FINGER_COLOURS):
        for step in range(4):
            np.testing.assert_array_equal(
                picture[70 - 15 * step, 10 + 20 * finger], colour)
            assert picture[max(62 - 15 * step, 25), 10 + 20 * finger].any()
    joints[9] = np.nan  # the root of the middle finger
    without = plane(100)
    draw_bones(without, joints)
    assert not without[62, 50].any() and without[47, 50].any()
    joints[:] = 1e9, -1e9
    outside = plane(100)
    draw_bones(outside, joints)
    assert not outside.any()


def test_joints_are_laid_on_uv_in_least_squares():
    random = np.random.RandomState(0)
    joints, points = random.normal(size=(21, 3)), random.normal(size=(50, 3))
    exact = place_on_picture(joints, joints[:, :2] * 300 + [10, 20], points)
    np.testing.assert_allclose(exact, points[:, :2] * 300 + [10, 20])
    uv = joints[:, :2] * 300 + random.normal(0, 30, (21, 2))
    ones = np.tile(np.eye(2), (21, 1))
    scale, x, y = np.linalg.lstsq(np.column_stack([joints[:, :2].ravel(), ones]),
                                  uv.ravel(), rcond=None)[0]
    np.testing.assert_allclose(place_on_picture(joints, uv, points),
                               scale * points[:, :2] + [x, y])
    broken = np.concatenate([joints, [[np.nan, 0, 0], [1, 2, 3]]])
    np.testing.assert_array_equal(
        place_on_picture(broken, np.concatenate([uv, [[1, 1], [np.inf, 1]]]), points),
        place_on_picture(joints, uv, points))


def test_joints_in_one_place_tell_no_scale():
    uv = np.random.RandomState(0).uniform(0, 99, (21, 2))
    placed = place_on_picture(np.ones((21, 3)), uv, np.eye(3))
    np.testing.assert_allclose(placed, uv.mean(0)[None].repeat(3, 0))
    assert np.isnan(place_on_picture(np.full((21, 3), np.nan), uv, np.eye(3))).all()


@pytest.mark.parametrize('joined', [True, False])
def test_from_the_side(joined):
    vertices, faces = ball()
    vertices *= [1, 2, 0.5]
    small = vertices * 0.1 + [0, -2, -2]  # nearer, and above
    both = np.concatenate([vertices, small])
    faces = np.concatenate([faces, faces + len(vertices)]) if joined else []
    picture = side_view(both, faces, 200)
    rows, columns = np.nonzero((picture != GROUND).any(2))
    # From -2.2 to 2 along y, in nine tenths of 200 pixels; from -2.05 to 0.5 along z.
    scale, edge = 180 / 4.2, 1.5 if joined else 3
    for found, least, most in ((rows, -2.1, 2.1), (columns, -1.275, 1.275)):
        assert abs(found.min() - (99.5 + least * scale)) <= edge
        assert abs(found.max() - (99.5 + most * scale)) <= edge
    top = (picture[8:16] != GROUND).any((0, 2))  # the small one, to the left
    assert top[42:53].any() and not top[:41].any() and not top[53:].any()


def test_from_the_side_of_nothing():
    for vertices in (np.zeros((0, 3)), np.full((5, 3), np.nan)):
        assert (side_view(vertices, [], 20) == GROUND).all()
    assert side_view(np.zeros((5, 3)), [[0, 1, 2]], 20).shape == (20, 20, 3)
