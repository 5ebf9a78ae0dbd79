"""Meshes of hands, drawn into pictures without a graphics card.

Points and vertices that are no finite numbers, and what hangs on them, are left out, as
are objects of a detection.
"""
import cv2
import numpy as np

from .errors import PredictionError

# Pairs of FreiHAND's 21 joints: the wrist, then thumb to little finger, root to tip.
BONES = tuple((4 * finger + step if step else 0, 4 * finger + step + 1)
              for finger in range(5) for step in range(4))
# BGR, of thumb, index, middle, ring and little finger.
FINGER_COLOURS = ((40, 40, 230), (20, 150, 250), (60, 190, 60), (220, 150, 30),
                  (200, 60, 170))
SKIN = (150, 180, 230)  # BGR
LIGHT = (-0.4, -0.6, -1.)  # towards a lamp beside the camera, to the left and above
AMBIENT = 0.3  # of the light that comes from everywhere
GROUND = 245  # grey of a picture that has no other ground
SHIFT = 4  # bits of OpenCV's parts of a pixel
LARGEST = 1e30  # of numbers whose products are still numbers
# Edges are smooth, for which pixels are cut into FINE x FINE, where no more than this
# many pixels lie round the mesh: memory stays below 100 MB.
FINE, MAX_FINE_PIXELS = 2, 2**22
MAX_SIDE = 2**20  # pixels outside, beyond which a line's end is drawn nearer


def draw_mesh(picture: np.ndarray, points: np.ndarray, vertices: np.ndarray,
              faces: np.ndarray, colour: tuple[float, ...] | np.ndarray = SKIN,
              light: tuple[float, ...] = LIGHT) -> None:
    """Draw a shaded mesh, triangles from the farthest to the nearest.

    Args:
        picture: (H, W, 3) uint8, BGR, changed in place.
        points: (n, 2), where each vertex is in the picture, x and y, the centre of the
            first pixel being (0, 0).
        vertices: (n, 3), in the camera's frame, x to the right, y down, z away, from
            any origin: their order along z and the triangles' slopes count.
        faces: (F, 3), the vertices of each triangle; without any, points are drawn.
        colour: BGR, of what faces the light; or one for each face, (F, 3).
        light: (3,), the way towards it, in the camera's frame.

    Raises:
        PredictionError: The arrays do not fit one another.
    """
    points, vertices, faces = _mesh(points, vertices, faces)
    usable = _are_usable(points) & _are_usable(vertices)
    if not len(faces):
        _draw_points(picture, points[usable], colour)
        return
    colours = np.broadcast_to(np.asarray(colour, np.float64), (len(faces), 3))
    shown = np.flatnonzero(usable[faces].all(1))
    shown = shown[np.argsort(-vertices[faces[shown], 2].mean(1), kind='stable')]
    faces, colours = faces[shown], colours[shown]
    corners = points[faces]  # (F, 3, 2)
    if not len(faces):
        return
    size = picture.shape[1::-1]
    left, top = (np.floor(corners.min((0, 1))) - 1).clip(0, size).astype(int)
    right, bottom = (np.ceil(corners.max((0, 1))) + 2).clip(0, size).astype(int)
    width, height = right - left, bottom - top
    if min(width, height) <= 0:
        return  # outside
    fine = FINE if width * height <= MAX_FINE_PIXELS else 1
    canvas = picture[top:bottom, left:right].repeat(fine, 0).repeat(fine, 1)
    # What is far outside is drawn nearer, or OpenCV would count every line up to it.
    reach = 4 * max(canvas.shape)
    corners = ((corners - (left, top)) * fine + (fine - 1) / 2).clip(-reach, reach)
    shades = _light_on(vertices, faces, corners, light)[:, None] * colours
    for triangle, shade in zip(_fixed(corners), shades.tolist()):
        cv2.fillConvexPoly(canvas, triangle, shade, cv2.LINE_8, SHIFT)
    picture[top:bottom, left:right] = cv2.resize(
        canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA)


def draw_bones(picture: np.ndarray, joints: np.ndarray) -> None:
    """Draw the lines between FreiHAND's 21 joints, each finger in its own colour.

    Args:
        picture: (H, W, 3) uint8, BGR, changed in place.
        joints: (21, 2), x and y in pixels.
    """
    joints = np.asarray(joints, np.float64)
    usable = _are_usable(joints)
    places = _fixed(joints.clip(-MAX_SIDE, MAX_SIDE), where=usable)
    thickness = max(1, min(picture.shape[:2]) // 150)
    for number, (start, end) in enumerate(BONES):
        colour = FINGER_COLOURS[number // 4]
        if usable[[start, end]].all():
            cv2.line(picture, places[start].tolist(), places[end].tolist(), colour,
                     thickness, cv2.LINE_AA, SHIFT)
        if usable[end]:
            cv2.circle(picture, places[end].tolist(), 3 * thickness << SHIFT - 1,
                       colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def place_on_picture(joints: np.ndarray, uv: np.ndarray, points: np.ndarray
                     ) -> np.ndarray:
    """Return where points of a hand are in the picture, (n, 2), by weak perspective.

    One scale and one shift lay the joints' x and y on ``uv``, as well as they can in
    least squares; points get the same. Joints all in one place tell no scale: then all
    points lie in the middle of ``uv``.

    Args:
        joints: (m, 3), in metres, in the camera's frame, from any origin.
        uv: (m, 2), where those are, in pixels.
        points: (n, 3), in metres, from the same origin.
    """
    joints, uv, points = (np.asarray(array, np.float64) for array in
                          (joints, uv, points))
    joints, points = joints[:, :2], points[:, :2]
    usable = _are_usable(joints) & _are_usable(uv)
    if not usable.any():
        return np.full(points.shape, np.nan)
    centre, middle = joints[usable].mean(0), uv[usable].mean(0)
    spread = joints[usable] - centre
    square = (spread ** 2).sum()
    scale = (spread * (uv[usable] - middle)).sum() / square if square > 0 else 0.
    with np.errstate(invalid='ignore', over='ignore'):  # of points that are no numbers
        return (points - centre) * scale + middle


def side_view(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """Return a picture (size, size, 3) of a mesh from its right, on a plain ground.

    What is nearer to the camera is further to the left, and the mesh fills the square.

    Args:
        vertices: (n, 3), in the camera's frame, from any origin.
        faces: (F, 3); without any, points are drawn.
        size: Height and width, in pixels.

    Raises:
        PredictionError: The arrays do not fit each other.
    """
    picture = np.full((size, size, 3), GROUND, np.uint8)
    vertices = np.asarray(vertices, np.float64)
    usable = _are_usable(vertices)
    if not usable.any():
        return picture
    x, y, z = vertices.T
    turned = np.stack([z, y, -x], 1)  # by 90 degrees about y
    low, high = turned[usable].min(0), turned[usable].max(0)
    extent = (high - low)[:2].max()
    scale = 0.9 * size / extent if extent > 0 else 0.
    with np.errstate(invalid='ignore', over='ignore'):
        points = (turned - (low + high) / 2)[:, :2] * scale + (size - 1) / 2
    draw_mesh(picture, points, turned, faces)
    return picture


def _mesh(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points, vertices = (np.asarray(array, np.float64) for array in (points, vertices))
    faces = np.asarray(faces, np.int64).reshape(-1, 3)
    if (vertices.shape[1:] != (3,) or points.shape != (len(vertices), 2)
            or faces.size and not 0 <= faces.min() <= faces.max() < len(vertices)):
        named = f'{faces.min()} to {faces.max()}' if faces.size else 'none'
        raise PredictionError(
            f'A mesh has vertices {vertices.shape} and points {points.shape}, and its '
            f'faces name vertices {named}; allowed are (n, 3), (n, 2) and 0 to n - 1. '
            'Give points and faces of the same mesh.')
    return points, vertices, faces


def _are_usable(points: np.ndarray) -> np.ndarray:
    """Return which points (n, k) can be computed with, (n,); NaN is not below."""
    return (np.abs(points) < LARGEST).all(1)


def _fixed(points: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Return OpenCV's integers; any for points that ``where`` rules out."""
    if where is not None:
        points = np.where(where[:, None], points, 0)
    return np.rint(points * 2**SHIFT).astype(np.int32)


def _light_on(vertices: np.ndarray, faces: np.ndarray, corners: np.ndarray,
              light: tuple[float, ...]) -> np.ndarray:
    """Return how bright each face is, (F,), from its vertices' mean normals.

    Both sides are lit: normals are taken on the side that the camera sees.
    """
    first, second, third = vertices[faces].transpose(1, 0, 2)
    normals = np.cross(second - first, third - first)  # as long as the face is large
    of_vertices = np.zeros((len(vertices), 3))
    np.add.at(of_vertices, faces, normals[:, None])
    smooth = of_vertices[faces].mean(1)
    (x, y), (u, v) = (corners[:, [1, 2]] - corners[:, :1]).transpose(1, 2, 0)
    # Clockwise in the picture, a face is seen from its back.
    smooth *= np.where(x * v > y * u, -1, 1)[:, None]
    length = np.linalg.norm(smooth, axis=1) * np.linalg.norm(light)
    cosine = smooth @ np.array(light) / np.maximum(length, 1 / LARGEST)
    return AMBIENT + (1 - AMBIENT) * cosine.clip(0, 1)


def _draw_points(picture: np.ndarray, points: np.ndarray, colour: tuple[float, ...]
                 ) -> None:
    radius = max(1, min(picture.shape[:2]) // 250)
    # Those outside would take as long as those inside.
    near = (points > -radius - 1).all(1) & (
        points < np.array(picture.shape[1::-1]) + radius).all(1)
    for place in _fixed(points[near]).tolist():
        cv2.circle(picture, place, radius << SHIFT, colour, cv2.FILLED, cv2.LINE_AA,
                   SHIFT)
