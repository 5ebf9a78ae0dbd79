"""Reading hand files: the numbers of a hand in MANO's form, in one of two formats."""
import os
from pathlib import Path

import numpy as np

from mmfastvit.utils.errors import CheckpointError

from .mano_pickle import read_arrays
from .read import load_safetensors, reason_of

_VERTICES = 778
# MANO's name of each array, and its shape; F is any number.
_FIELDS: dict[str, tuple[str, tuple]] = {
    'template': ('v_template', (_VERTICES, 3)),
    'shape_directions': ('shapedirs', (_VERTICES, 3, 10)),
    'pose_directions': ('posedirs', (_VERTICES, 3, 135)),
    'joint_regressor': ('J_regressor', (16, _VERTICES)),
    'skinning_weights': ('weights', (_VERTICES, 16)),
    'mean_pose': ('hands_mean', (45,)),
    'faces': ('f', ('F', 3)),
}
_SOURCE = 'https://mano.is.tue.mpg.de'
_ALLOWED = (
    f'Allowed are MANO_RIGHT.pkl as it was downloaded from {_SOURCE}, a pickle of '
    f'protocol 0 to 2, and a .safetensors file with the tensors {", ".join(_FIELDS)}, '
    'as tools/generate_hands.py writes it: take one of them.')


def read_hand_file(path: str | Path) -> dict[str, np.ndarray]:
    """Return the numbers of a hand in MANO's form, executing nothing of its file.

    Romero, Tzionas and Black, Embodied Hands, 2017.

    Args:
        path: The user's own ``MANO_RIGHT.pkl``, or a ``.safetensors`` file with the
            names below, such as ``tools/generate_hands.py`` writes.

    Returns:
        Arrays of their own memory, float32 but for the last, lengths in metres:
        ``template`` (778, 3), ``shape_directions`` (778, 3, 10), ``pose_directions``
        (778, 3, 135), ``joint_regressor`` (16, 778), ``skinning_weights`` (778, 16),
        ``mean_pose`` (45,) in radians, ``faces`` (F, 3) int64.

    Raises:
        CheckpointError: The file is missing, damaged, of a left hand, or another.

    Example:
        >>> read_hand_file('MANO_RIGHT.pkl')['faces'].shape
        (1538, 3)
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # False for names that no file can have, too
        raise CheckpointError(
            f'there is no hand file {path}. MANO_RIGHT.pkl is not shipped, for its '
            'licence, for research only, lets nobody pass it on: register and download '
            f'it at {_SOURCE}, or write a free hand of our own with '
            'tools/generate_hands.py.')
    if 'LEFT' in path.name:
        raise CheckpointError(
            f'{path} is a left hand by its name; the hands of FreiHAND, and so of the '
            'models here, are right ones. Give MANO_RIGHT.pkl, of the same download.')
    try:
        if path.suffix == '.safetensors':
            return _read_tensors(path)
        names = {key: name for name, (key, _) in _FIELDS.items()}
        return {names[key]: _checked(names[key], array)
                for key, array in read_arrays(path, names)}
    except Exception as error:  # pickle, header and IO errors alike
        raise CheckpointError(
            f'{path} ({path.stat().st_size:,} bytes) cannot be read as a hand file: '
            f'{reason_of(path, error)}. {_ALLOWED}') from error


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    tensors = load_safetensors(path)
    missing = [name for name in _FIELDS if name not in tensors]
    if missing:
        raise CheckpointError(f'it has no {", ".join(missing)}')
    return {name: _checked(name, tensors[name].numpy()) for name in _FIELDS}


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    """Return a copy of the type that is promised, of what a hand can have."""
    key, shape = _FIELDS[name]
    which = f'its {name} ({key} in MANO)'
    if array.ndim != len(shape) or any(
            want not in ('F', got) for want, got in zip(shape, array.shape)):
        raise CheckpointError(f'{which} is of shape {array.shape}, where '
                              f'({", ".join(map(str, shape))}) belongs')
    kinds, numbers, dtype = (('iu', 'integers', np.int64) if name == 'faces' else
                             ('f', 'floating-point numbers', np.float32))
    if array.dtype.kind not in kinds:
        raise CheckpointError(f'{which} is of {array.dtype}, where {numbers} belong')
    if name == 'faces' and ((array < 0) | (array >= _VERTICES)).any():
        raise CheckpointError(f'{which} names vertices from {array.min()} to '
                              f'{array.max()}; there are 0 to {_VERTICES - 1}')
    with np.errstate(over='ignore'):  # infinity is what is looked for
        array = np.array(array, dtype, order='C')
    if not np.isfinite(array).all():
        raise CheckpointError(f'{which} holds NaN or infinity')
    return array
