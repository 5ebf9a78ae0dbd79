"""A right hand of our own in MANO's form, which belongs to nobody.

It has MANO's counts, joints and places of the tips, and none of its numbers: five
tapered fingers with round tips, and a palm, each a closed surface of its own, as the
tables below say. At rest it is flat: x runs from the wrist to the fingers, y to the
thumb's side, z out of its back. Lengths are in metres.
"""
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mmfastvit.models.hands.mano import MANONumbers

RING = 8  # vertices round a finger
PALM_RING = 18
# Beyond this, in either direction, shape parameters make no hand.
SHAPE_LIMIT = 2.


class Finger(NamedTuple):
    """One finger.

    Attributes:
        root: Its first joint.
        along: The way to its tip.
        back: The side of its nail.
        lengths: Of its three bones.
        radii: At its first joint, and at its tip.
    """

    root: tuple[float, float, float]
    along: tuple[float, float, float]
    back: tuple[float, float, float]
    lengths: tuple[float, float, float]
    radii: tuple[float, float]

    def frame(self) -> np.ndarray:
        """Return the ways to its tip, to its thumb's side and to its nail, (3, 3).

        It bends by turning about the second, and spreads by turning about the third.
        """
        along = np.array(self.along) / np.linalg.norm(self.along)
        side = np.cross(self.back, along)
        side /= np.linalg.norm(side)
        return np.stack([along, side, np.cross(along, side)])


# In FreiHAND's order: thumb, index, middle, ring, little finger.
FINGERS = (
    Finger((.020, .021, -.006), (.74, .62, -.26), (-.30, .62, .72),
           (.043, .033, .028), (.0152, .0100)),
    Finger((.0895, .0255, -.002), (.997, .07, 0), (0, .10, 1), (.042, .025, .023),
           (.0108, .0080)),
    Finger((.092, .003, 0), (1, 0, 0), (0, 0, 1), (.046, .029, .024), (.0110, .0082)),
    Finger((.087, -.0185, -.001), (.996, -.08, 0), (0, -.06, 1), (.042, .027, .024),
           (.0104, .0077)),
    Finger((.077, -.038, -.005), (.984, -.18, 0), (0, -.16, 1), (.033, .020, .021),
           (.0092, .0068)))
# Of each ring of a finger: after which joint, at which share of the bone, and how much
# thicker than a cone.
FINGER_RINGS = ((0, -.30, .5), (0, 0, .92), (0, .30, 1), (0, .60, .97), (0, .85, 1),
                (1, 0, 1.05), (1, .20, 1), (1, .50, .96), (1, .80, .99),
                (2, 0, 1.03), (2, .30, 1), (2, .65, 1), (2, .88, 1))
JOINT_RINGS = 1, 5, 9  # whose middles are joints
# Of each ring of the palm: x, the least and the largest y, and half its thickness.
PALM_RINGS = (
    (-.023, -.023, .023, .0140), (-.020, -.027, .027, .0175), (0, -.027, .027, .0175),
    (.015, -.032, .033, .0170), (.030, -.038, .040, .0170), (.044, -.042, .043, .0160),
    (.058, -.045, .0425, .0150), (.070, -.046, .0395, .0140),
    (.080, -.0462, .037, .0130), (.088, -.0462, .0358, .0120),
    (.095, -.0460, .0352, .0112), (.101, -.0455, .0345, .0100),
    (.106, -.0445, .0335, .0076), (.109, -.043, .032, .0040))
PALM_END = .1100  # x
WRIST_RING = 2  # whose middle is the wrist


class _Proportions(NamedTuple):
    """How much larger than in the tables."""

    size: float = 1.
    fingers: float = 1.  # their lengths
    width: float = 1.
    thickness: float = 1.


# What one unit of each shape parameter adds.
UNITS = _Proportions(.05, .05, .05, .08)


def make_hand() -> 'MANONumbers':
    """Return the hand, in float32.

    Its shape parameters are the whole size, the length of its fingers, its width and
    its thickness; the other six, and how pose changes shape, are zero.
    """
    import torch  # here, since tables of it need none

    from mmfastvit.models.hands.mano import MANONumbers
    template, order = _vertices(_Proportions()), _order()
    directions = np.zeros((len(template), 3, 10))
    for i, (name, unit) in enumerate(UNITS._asdict().items()):
        changed = _vertices(_Proportions()._replace(**{name: 1 + unit}))
        directions[..., i] = changed - template
    regressor, weights = _regressor(), _weights(template)
    arrays = dict(
        template=template[order], shape_directions=directions[order],
        pose_directions=np.zeros((len(template), 3, 135)),
        joint_regressor=regressor[:, order], skinning_weights=weights[order],
        mean_pose=np.zeros(45))
    return MANONumbers(
        **{name: torch.tensor(array, dtype=torch.float32).contiguous()
           for name, array in arrays.items()},
        faces=torch.from_numpy(np.argsort(order)[_faces()]))


def _vertices(proportions: _Proportions) -> np.ndarray:
    """Return the palm's vertices, then each finger's, (778, 3)."""
    scale = proportions.size * np.array([1, proportions.width, 1])
    return np.concatenate([_palm(proportions) * scale, *(
        _finger(finger, proportions, scale) for finger in FINGERS)])


def _finger(finger: Finger, proportions: _Proportions, scale: np.ndarray
            ) -> np.ndarray:
    """Return its rings' vertices, then its tip, (105, 3)."""
    along, side, back = finger.frame()
    lengths = np.array(finger.lengths) * proportions.size * proportions.fingers
    starts = np.array([0, *lengths.cumsum()])
    bone, share, thicker = np.array(FINGER_RINGS).T
    bone = bone.astype(int)
    place = starts[bone] + share * lengths[bone]
    radius = thicker * np.interp(place, [0, starts[-1]], finger.radii)
    radius *= proportions.size * proportions.thickness
    end = radius[-1]  # of the half ball at its tip
    radius *= np.sqrt(1 - (1 - (starts[-1] - place) / end).clip(0) ** 2)
    angle = 2 * np.pi * np.arange(RING) / RING
    rim = np.cos(angle)[:, None] * side + .92 * np.sin(angle)[:, None] * back
    root = np.array(finger.root) * scale
    rings = root + place[:, None, None] * along + radius[:, None, None] * rim
    return np.concatenate([rings.reshape(-1, 3), [root + starts[-1] * along]])


def _palm(proportions: _Proportions) -> np.ndarray:
    """Return its rings' vertices, then the middle of its end, (253, 3)."""
    x, least, most, thickness = (column[:, None] for column in np.array(PALM_RINGS).T)
    angle = 2 * np.pi * np.arange(PALM_RING) / PALM_RING
    # Between an ellipse and a rectangle.
    across, up = (np.sign(part) * np.abs(part) ** .8
                  for part in (np.cos(angle), np.sin(angle)))
    y = (least + most) / 2 + (most - least) / 2 * across
    z = thickness * up * proportions.thickness
    rings = np.stack(np.broadcast_arrays(x, y, z), -1).reshape(-1, 3)
    middle = (least[-1, 0] + most[-1, 0]) / 2
    vertices = np.concatenate([rings, [[PALM_END, middle, 0]]])
    # The knuckles lie on an arc, from above and from the fingertips.
    share = (vertices[:, 0] / FINGERS[2].root[0]).clip(0, 1)
    vertices[:, 0] -= 8 * share * (vertices[:, 1] - .01) ** 2
    vertices[:, 2] -= 4 * share * vertices[:, 1] ** 2
    return vertices


def _faces() -> np.ndarray:
    """Return triangles, counterclockwise from outside, (1532, 3)."""
    palm = len(PALM_RINGS) * PALM_RING + 1
    finger = len(FINGER_RINGS) * RING + 1
    return np.concatenate([_tube(len(PALM_RINGS), PALM_RING), *(
        palm + i * finger + _tube(len(FINGER_RINGS), RING)
        for i in range(len(FINGERS)))])


def _tube(rings: int, ring: int) -> np.ndarray:
    """Return the triangles of rings, a flat lid on the first, a point at the end."""
    faces = []
    left, right = 0, ring - 1  # the lid goes to and fro between both sides
    while left + 1 < right:
        faces += [(left, right, left + 1), (right, right - 1, left + 1)]
        left, right = left + 1, right - 1
    for i in range(rings):
        for k in range(ring):
            a, b = i * ring + k, i * ring + (k + 1) % ring
            faces += ([(a, b, a + ring), (b, b + ring, a + ring)] if i < rings - 1
                      else [(a, b, rings * ring)])
    return np.array(faces)


def _order() -> np.ndarray:
    """Return which vertex of :func:`_vertices` each of MANO's places has."""
    from mmfastvit.models.hands.mano import FROM_VERTICES, VERTICES
    palm = len(PALM_RINGS) * PALM_RING + 1
    finger = len(FINGER_RINGS) * RING + 1
    tips = {place: palm + (i + 1) * finger - 1
            for i, place in enumerate(FROM_VERTICES.values())}
    order = [vertex for vertex in range(VERTICES) if vertex not in tips.values()]
    for place, tip in sorted(tips.items()):
        order.insert(place, tip)
    return np.array(order)


def _regressor() -> np.ndarray:
    """Return MANO's 16 joints as the middles of rings, (16, 778)."""
    from mmfastvit.models.hands.mano import VERTICES
    regressor = np.zeros((16, VERTICES))
    regressor[0, WRIST_RING * PALM_RING:(WRIST_RING + 1) * PALM_RING] = 1 / PALM_RING
    for i in range(len(FINGERS)):
        first = len(PALM_RINGS) * PALM_RING + 1 + i * (len(FINGER_RINGS) * RING + 1)
        for step, ring in enumerate(JOINT_RINGS):
            start = first + ring * RING
            regressor[joint_of(i) + step, start:start + RING] = 1 / RING
    return regressor


def joint_of(finger: int) -> int:
    """Return MANO's number of a finger's first joint; the others follow it."""
    from mmfastvit.models.hands.mano import FROM_JOINTS
    return FROM_JOINTS[4 * finger + 1]


def _weights(vertices: np.ndarray) -> np.ndarray:
    """Return how much each joint moves each vertex, (778, 16)."""
    weights = np.zeros((len(vertices), 16))
    palm = len(PALM_RINGS) * PALM_RING + 1
    own = _palm_weights(vertices[:palm])
    weights[:palm, 0] = 1 - own.sum(1)
    weights[:palm, [joint_of(i) for i in range(len(FINGERS))]] = own
    for i, (finger, part) in enumerate(zip(
            FINGERS, np.split(vertices[palm:], len(FINGERS)))):
        rows = slice(palm + i * len(part), palm + (i + 1) * len(part))
        place = (part - finger.root) @ finger.frame()[0]
        starts = np.array([0, *np.cumsum(finger.lengths)[:2]])
        # Of each joint, whether it moves what is there; half of it at the joint.
        half = .3 * np.array(finger.lengths)
        moves = _smooth((place[:, None] - starts) / (2 * half) + .5)  # (105, 3)
        before = np.concatenate([np.ones((len(part), 1)), moves], 1).cumprod(1)
        columns = [0, *(joint_of(i) + step for step in range(3))]
        weights[rows, columns] = before - np.pad(before[:, 1:], ((0, 0), (0, 1)))
    return weights


def _palm_weights(vertices: np.ndarray) -> np.ndarray:
    """Return how much each finger's first joint moves the palm, (253, 5).

    The skin between fingers follows those beside it, that at the thumb the thumb.
    """
    roots = np.array([finger.root for finger in FINGERS[:0:-1]])  # from the least y
    x, y = vertices[:, 0], vertices[:, 1]
    beyond = .8 * _smooth((x - np.interp(y, roots[:, 1], roots[:, 0]) + .010) / .026)
    shares = [beyond * np.interp(y, roots[:, 1], one) for one in np.eye(4)[::-1]]
    thumb = FINGERS[0]
    along, away = thumb.frame()[0], vertices - thumb.root
    share = (away @ along / thumb.lengths[0]).clip(0, 1)
    distance = np.linalg.norm(away - share[:, None] * along * thumb.lengths[0], axis=1)
    near = _smooth((.034 - distance) / .022)
    return np.stack([.8 * share * near * (1 - beyond), *shares], 1)


def _smooth(share: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a smooth step between."""
    share = share.clip(0, 1)
    return share * share * (3 - 2 * share)
