"""A generated data set of hands in FreiHAND's layout, which belongs to nobody.

Every picture shows the hand of ``hand_template.py``, in a shape, a pose, a light and a
skin of its own, on a textured ground. Its fingers wear a glove of five colours (Wang
and Popović, Real-Time Hand-Tracking with a Color Glove, 2009), so that a network learns
within minutes to tell them apart. It is for trying out and testing a training: what is
learnt on it says nothing about photographs.
"""
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mmfastvit.utils.errors import ArgumentError, DataError
from mmfastvit.utils.files import whole_file
from mmfastvit.utils.progress import track

from .hand_template import FINGERS, SHAPE_LIMIT, UNITS, joint_of, make_hand
from .projection import project
from .textures import texture

if TYPE_CHECKING:
    from mmfastvit.models.hands import MANO

VERSION = 2  # of the files; a change of any number or pixel raises it
SPLITS = ('training', 'evaluation')
LISTS = ('K', 'xyz', 'verts', 'mano', 'scale')
INFO = 'hands.json'
HAND_FILE = 'hand.safetensors'
SCALE_BONE = 9, 10  # joints; FreiHAND's scale is the length between them
DIGITS = 6  # behind the point, of numbers in lists: micrometres
MAX_TILT = np.pi / 6  # of the palm from facing the camera
MAX_TURN = np.pi / 6  # of the hand in the picture, from fingers up
# Radians that a finger's three joints bend at most, and a thumb's.
MOST_BENT = np.array([1.45, 1.75, 1.1])
THUMB_MOST_BENT = np.array([.45, .75, 1.0])
# How far each finger turns to the thumb's side when all are spread.
SPREADS = (0, 1, .2, -.5, -1.)
# BGR, of thumb, index, middle, ring and little finger.
GLOVE = np.array([[60, 60, 220], [40, 160, 240], [80, 190, 80], [220, 150, 50],
                  [200, 80, 170]], float)
SKINS = np.array([[60, 80, 125], [185, 205, 245]], float)  # BGR, dark and light
# From the rest of the hand (to the tips, to the thumb, out of the back) to a right
# hand's back before the camera, its fingers up.
UPRIGHT = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]], float)


@dataclass(frozen=True)
class HandsSpec:
    """Everything the data set depends on.

    Args:
        num_train: Pictures to train on.
        num_evaluation: Pictures to evaluate on, drawn from another stream.
        image_size: Height and width in pixels.
        seed: Seed of all streams.

    Raises:
        ArgumentError: A number is too small to draw with, or the seed too large.
    """

    num_train: int = 1600
    num_evaluation: int = 200
    image_size: int = 128
    seed: int = 0

    def __post_init__(self):
        if min(self.num_train, self.num_evaluation) < 1 or self.image_size < 64:
            raise ArgumentError(f'{self}: give at least one picture each to train and '
                                'to evaluate on, of at least 64 pixels.')
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f'seed={self.seed}: give 0 to {2**32 - 1}.')


def generate_hands(root: str, spec: HandsSpec = HandsSpec()) -> Path:
    """Write the data set in FreiHAND's layout, all of it or nothing.

    ``{training,evaluation}/rgb/`` hold the pictures, one a pose, and for each split
    ``_K.json`` the cameras, ``_xyz.json`` joints and ``_verts.json`` vertices in metres
    in the camera's frame, ``_mano.json`` pose (48), shape (10), the wrist in pixels (2)
    and 1, ``_scale.json`` the length between joints 9 and 10. ``hand.safetensors`` is
    the hand that they are of, ``hands.json`` says what was asked for.

    The same seed gives the same lists; pictures are the same on one machine.

    Args:
        root: Folder to write. If it holds the same data set, nothing is done.
        spec: What to draw.

    Returns:
        ``root`` as a path.

    Raises:
        DataError: ``root`` holds anything else.
        ArgumentError: It cannot be written.

    Example:
        >>> generate_hands('data/hands', HandsSpec(num_train=100, num_evaluation=10))
        PosixPath('data/hands')
    """
    root, info = Path(root), dict(asdict(spec), version=VERSION)
    if root.exists():
        if _stored_info(root) == info:
            return root
        raise DataError(f'{root} exists and does not hold the hands of {spec}. Remove '
                        'it, or choose another folder.')
    from safetensors.torch import save

    from mmfastvit.models.hands import MANO
    numbers = make_hand()
    with whole_file(root, is_folder=True) as unfinished:
        unfinished.mkdir()
        (unfinished / HAND_FILE).write_bytes(save(numbers._asdict()))
        counts = spec.num_train, spec.num_evaluation
        for i, (split, count) in enumerate(zip(SPLITS, counts)):
            random = np.random.RandomState([spec.seed, i])
            _write_split(unfinished, split, count, spec.image_size, random,
                         MANO(numbers).double())
        (unfinished / INFO).write_text(json.dumps(info))
    return root


def draw_pose(random: np.random.RandomState) -> np.ndarray:
    """Return rotations of the hand and of its 15 joints, (16, 3), axis times angle.

    From flat hands to fists, and fingers that do each as they like.
    """
    pose = np.zeros((16, 3))
    pose[0] = cv2.Rodrigues(_towards_camera(random))[0][:, 0]
    # Ends are more likely than what lies between.
    curls = random.beta(.6, .6, 5)
    if random.uniform() < .4:  # fingers alike, the thumb as it likes
        curls[1:] = curls[1]
    curls = (curls + random.normal(0, .06, 5)).clip(0, 1)
    spread = random.uniform(-.04, .24)
    for finger, curl in enumerate(curls):
        _, side, back = FINGERS[finger].frame()
        most = MOST_BENT if finger else THUMB_MOST_BENT
        bends = curl * most * random.uniform(.85, 1.1, 3) - random.uniform(0, .12, 3)
        aside = SPREADS[finger] * spread * (1 - .8 * curl) + random.normal(0, .03)
        if not finger:
            aside = random.uniform(-.35, .25)
        first = joint_of(finger)
        pose[first:first + 3] = bends[:, None] * side
        pose[first] += aside * back
    return pose


def draw_shape(random: np.random.RandomState) -> np.ndarray:
    """Return shape parameters (10,), of which the hand has four."""
    shape = np.zeros(10)
    shape[:len(UNITS)] = random.normal(size=len(UNITS)).clip(-SHAPE_LIMIT, SHAPE_LIMIT)
    return shape


def place_before_camera(random: np.random.RandomState, vertices: np.ndarray, size: int
                        ) -> tuple[np.ndarray, np.ndarray]:
    """Return a camera (3, 3), and where to move a hand (3,) so that it is in view.

    The hand's longer side fills from 70 to 85 % of the picture.

    Args:
        random: The stream.
        vertices: (778, 3), in the camera's directions, in metres.
        size: Height and width of the picture.
    """
    middle = (vertices.min(0) + vertices.max(0)) / 2
    move = np.array([0, 0, random.uniform(.4, .9)]) - middle
    fill = random.uniform(.7, .85)
    aside = random.uniform(-.05, .05, 2) * size  # with 43 % on a side, all is inside
    low, high = _extent(vertices + move)
    focal = fill * size / (high - low).max()
    for _ in range(3):  # each leaves a tenth of what is missing, or less
        low, high = _extent(vertices + move)
        missing = aside / focal - (low + high) / 2
        move[:2] += missing * (middle + move)[2]
    centre = (size - 1) / 2
    return np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]]), move


def draw_hand(random: np.random.RandomState, vertices: np.ndarray, faces: np.ndarray,
              fingers: np.ndarray, camera: np.ndarray, size: int) -> np.ndarray:
    """Return a picture (size, size, 3) uint8, BGR, of a hand before a camera.

    ``fingers`` (F,) says which finger each face is of, 5 for the palm.
    """
    from mmfastvit_runtime.meshes import draw_mesh
    picture = texture(random, size)
    share = random.uniform()
    skin = (1 - share) * SKINS[0] + share * SKINS[1] + random.uniform(-12, 12, 3)
    light = *random.uniform(-.6, .6, 2), -1.
    draw_mesh(picture, project(camera, vertices), vertices, faces,
              np.vstack([GLOVE, skin.clip(0, 255)])[fingers], light)
    noise = random.normal(0, random.uniform(0, 4), picture.shape)
    return np.rint(picture + noise).clip(0, 255).astype(np.uint8)


def finger_of(faces: np.ndarray, skinning_weights: np.ndarray) -> np.ndarray:
    """Return which finger each face (F, 3) is of, (F,), 0 to 4, or 5 for the palm.

    A vertex is of the finger whose joints move it more than the wrist and the others.
    """
    own = np.stack([skinning_weights[:, joint_of(i):joint_of(i) + 3].sum(1)
                    for i in range(len(FINGERS))], 1)
    finger = np.where(own.max(1) > .5, own.argmax(1), len(FINGERS))
    return finger[faces].max(1)


def _towards_camera(random: np.random.RandomState) -> np.ndarray:
    """Return a rotation (3, 3): the palm to the camera, less a tilt."""
    turn = random.uniform(-MAX_TURN, MAX_TURN)
    axis = random.uniform(-np.pi, np.pi)
    tilt = random.uniform(0, MAX_TILT)
    around_view, tilted, turned = (cv2.Rodrigues(np.array(vector))[0] for vector in (
        [0, 0, turn], [tilt * np.cos(axis), tilt * np.sin(axis), 0], [0, np.pi, 0]))
    return around_view @ tilted @ turned @ UPRIGHT


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest x and y, (2,) each, at a depth of 1."""
    seen = points[:, :2] / points[:, 2:]
    return seen.min(0), seen.max(0)


def _write_split(root: Path, split: str, count: int, size: int,
                 random: np.random.RandomState, hand: 'MANO') -> None:
    import torch

    from mmfastvit.models.hands.rotations import from_axis_angle
    pictures = root / split / 'rgb'
    pictures.mkdir(parents=True)
    faces = hand.faces.numpy()
    fingers = finger_of(faces, hand.skinning_weights.numpy())
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    for i in track(range(count), f'Drawing {split} pictures'):
        pose, shape = draw_pose(random), draw_shape(random)
        vertices, joints = (part[0].numpy() for part in hand(
            from_axis_angle(torch.from_numpy(pose)[None]),
            torch.from_numpy(shape)[None]))
        camera, move = place_before_camera(random, vertices, size)
        vertices, joints = vertices + move, joints + move
        wrist = project(camera, joints[:1])[0]
        entry = dict(
            K=camera, xyz=joints, verts=vertices,
            mano=[np.concatenate([pose.ravel(), shape, wrist, [1.]])],
            scale=np.linalg.norm(np.subtract(*joints[list(SCALE_BONE)])))
        for name, numbers in entry.items():
            lists[name].append(json.dumps(np.round(numbers, DIGITS).tolist()))
        picture = draw_hand(random, vertices, faces, fingers, camera, size)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        content = cv2.imencode('.jpg', picture, quality)[1]
        (pictures / f'{i:08d}.jpg').write_bytes(content)
    for name, entries in lists.items():
        (root / f'{split}_{name}.json').write_text(f'[{", ".join(entries)}]')


def _stored_info(root: Path) -> dict | None:
    try:
        return json.loads((root / INFO).read_text())
    except (OSError, ValueError):
        return None
