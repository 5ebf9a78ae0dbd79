"""A hand's joints and mesh: from what a network gives to a picture of them."""
from typing import Any

import cv2
import numpy as np

from .errors import PredictionError
from .limits import MAX_FACES, MAX_VERTICES
from .meshes import SKIN, draw_bones, draw_mesh, place_on_picture
from .prediction import Arrays, Prediction
from .text import printable

Size = tuple[int, int]  # height and width
ARRAYS = 'uv', 'joints', 'vertices'
# Of one picture; None is any number.
SHAPES = dict(uv=(1, 21, 2), joints=(1, 21, 3), vertices=(1, None, 3))
WRIST = 0
MIDDLE_FINGER = 0, 9, 10, 11, 12  # joints from the wrist to its tip
OPACITY = 0.75  # of the mesh, through which the picture is seen


def are_faces(value: Any) -> bool:
    """Whether metadata say how vertices are joined to triangles, within bounds."""
    return (isinstance(value, list) and len(value) <= MAX_FACES
            and all(isinstance(face, list) and len(face) == 3
                    and all(type(vertex) is int and 0 <= vertex < MAX_VERTICES
                            for vertex in face) for face in value))


def restore(found: Arrays, metadata: dict[str, Any], size: Size, content: Size,
            original: Size) -> Arrays:
    """Return the hand of a resized picture, its joints in pixels of the original.

    Args:
        found: ``uv`` (1, 21, 2), shares of the width and height that the network sees,
            of which 0 is the left or upper edge; ``joints`` (1, 21, 3) and ``vertices``
            (1, V, 3) in metres.
        metadata: Of the model.
        size: Height and width that the model was given. Where metadata have a
            ``pad_divisor``, the network sees as much more to the right and below.
        content: Those that the picture was resized to, before it was padded.
        original: Those before.

    Raises:
        PredictionError: These are no numbers, or ``faces`` name vertices that are not
            there.
    """
    faces, count = metadata.get('faces') or [], found['vertices'].shape[1]
    needed = 1 + max(map(max, faces), default=0)
    kinds = {str(found[name].dtype) for name in ARRAYS}
    if not needed <= count <= MAX_VERTICES or any(
            found[name].dtype.kind != 'f' for name in ARRAYS):
        raise PredictionError(
            f'The file is damaged: of a hand it gives {count:,} vertices, in '
            f'{", ".join(sorted(kinds))}; allowed are floats, and {needed:,}, which '
            f'its faces name, to {MAX_VERTICES:,} vertices. Export the model again.')
    divisor = metadata.get('pad_divisor') or 1
    seen = [side + -side % divisor for side in size]
    scale = [now * before / resized
             for now, before, resized in zip(seen, original, content)]
    # The centre of the first pixel is (0, 0), so that the edge is half a pixel before.
    with np.errstate(over='ignore'):  # what becomes infinite is left out later
        restored = {name: found[name][0].astype(np.float32) for name in ARRAYS}
        uv = found['uv'][0].astype(np.float64) * scale[::-1] - 0.5
        return {**restored, 'uv': uv.astype(np.float32)}


def draw(picture: np.ndarray, found: Prediction, score_threshold: float) -> None:
    """Draw the mesh, or without faces its vertices, and the bones, into a picture."""
    if not found.finite().all():
        return
    points = place_on_picture(found['joints'], found['uv'], found['vertices'])
    palette = found.metadata['palette']
    covered = picture.copy()
    draw_mesh(covered, points, found['vertices'], found.metadata.get('faces') or [],
              tuple(palette[0][::-1]) if palette else SKIN)
    cv2.addWeighted(covered, OPACITY, picture, 1 - OPACITY, 0, picture)
    draw_bones(picture, found['uv'])


def describe(found: Prediction, score_threshold: float) -> list[str]:
    """Return a line: where the hand is, and how long."""
    if not found.finite().all():
        return []
    x, y = found['uv'][WRIST]
    chain = found['joints'][list(MIDDLE_FINGER)].astype(np.float64)
    length = np.linalg.norm(np.diff(chain, axis=0), axis=1).sum()
    return [f'{printable(found.name(0))} with its wrist at {x:.1f}, {y:.1f}, '
            f'{1000 * length:.0f} mm from there to the middle finger\'s tip']
