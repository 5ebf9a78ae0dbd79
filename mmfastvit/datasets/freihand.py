"""FreiHAND: pictures of right hands with their 3D joints and meshes.

Zimmermann et al., FreiHAND: A Dataset for Markerless Capture of Hand Pose and Shape
from Single RGB Images, ICCV 2019.
"""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmfastvit.models.hands.mano import FROM_VERTICES, VERTICES, load_hand
from mmfastvit.utils.errors import ArgumentError, DataError, MissingDataError

from .checks.presence import check_pictures
from .json_lists import read_list

# Of each pose, a picture for each of these, one list after the other.
VERSIONS = ('gs', 'hom', 'sample', 'auto')
# FreiHAND has no validation set: every 20th pose, all of its pictures.
HELD_OUT = 20
# Of each split: its folder, and whether held-out poses belong to it; None takes all.
SPLITS = {'train': ('training', False), 'val': ('training', True),
          'trainval': ('training', None), 'test': ('evaluation', None)}
LISTS = {'K': (3, 3), 'xyz': (21, 3), 'verts': (VERTICES, 3)}
# Version 2 is at most 6 mm off MANO, whose tips are vertices.
MAX_TIP_ERROR = 0.01  # metres
DOWNLOAD = (
    'FreiHAND is at https://lmb.informatik.uni-freiburg.de/projects/freihand/, for '
    'research only: unpack FreiHAND_pub_v2.zip, and FreiHAND_pub_v2_eval.zip for the '
    'evaluation, into one folder. Version 1, from before 2019-10-22, does not serve. '
    'Hands that belong to nobody: python tools/generate_hands.py data/hands')


@DATASETS.register_module()
class FreiHANDDataset(BaseDataset):
    """FreiHAND, version 2, or what ``tools/generate_hands.py`` writes.

    An item has ``img_path``, ``K`` (3, 3), the camera in pixels of the picture, and
    ``gt_joints`` (21, 3) and ``gt_vertices`` (778, 3) in metres, in the camera's frame:
    x to the right, y down, z away. All are float32.

    Args:
        data_root: The folder of the lists.
        split: ``'train'``, ``'val'`` (every 20th pose), ``'trainval'`` (both) or
            ``'test'`` (the evaluation set).
        versions: Which of a pose's four pictures in training: ``'gs'``, ``'hom'``,
            ``'sample'``, ``'auto'``.
        hand_file: In ``data_root``, or absolute: ``MANO_RIGHT.pkl`` or the generator's
            ``hand.safetensors``. Its triangles are for drawings; without it, points
            are drawn.
        pipeline: Of transforms.
        kwargs: Of MMEngine's ``BaseDataset``.

    Raises:
        ArgumentError: There is no such split or version.
        MissingDataError: A list or a picture is missing.
        DataError: A list is damaged, or fits the others not.
    """

    METAINFO = dict(classes=('hand',), palette=[(230, 180, 150)])

    def __init__(self, data_root: str, split: str = 'train',
                 versions: Sequence[str] = VERSIONS, hand_file: str | None = None,
                 pipeline: Sequence = (), **kwargs: Any):
        for value, allowed in ((split, SPLITS), *((v, VERSIONS) for v in versions)):
            if value not in allowed:
                raise ArgumentError(f'{value!r}: allowed are {", ".join(allowed)}.')
        self.folder, self.held_out = SPLITS[split]
        self.versions = tuple(versions) if self.folder == 'training' else VERSIONS[:1]
        metainfo = dict(kwargs.pop('metainfo', None) or {})
        if hand_file is not None:
            metainfo['faces'] = load_hand(Path(data_root, hand_file)).faces.tolist()
        self.arrays: dict[str, np.ndarray] = {}
        super().__init__(data_root=data_root, pipeline=list(pipeline),
                         metainfo=metainfo, **kwargs)

    def check_presence(self) -> None:
        """Raise MissingDataError if a list is missing."""
        lists = [self._list(name) for name in LISTS]
        missing = [str(path) for path in lists if not path.is_file()]
        if missing:
            raise MissingDataError(f'{", ".join(missing)}: not there. {DOWNLOAD}')

    def load_data_list(self) -> list[dict]:
        """Return each picture's path and the row of its pose, and read ``arrays``."""
        self.check_presence()
        arrays = {name: read_list(self._list(name), shape)
                  for name, shape in LISTS.items()}
        counts = {self._list(name).name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise DataError(
                f'{self.data_root}: its lists belong to different archives, since they '
                'are of different lengths: ' + ', '.join(
                    f'{name} {count:,}' for name, count in counts.items())
                + f'. {DOWNLOAD}')
        self._check_geometry(arrays)
        count = len(arrays['K'])
        poses = [i for i in range(count) if self.held_out is None
                 or self.held_out == (i % HELD_OUT == 0)]
        self.arrays = {name: array[poses] for name, array in arrays.items()}
        pictures = Path(self.data_root, self.folder, 'rgb')
        found = [dict(img_path=str(pictures / f'{i + count * version:08d}.jpg'),
                      pose=row)
                 for version in map(VERSIONS.index, self.versions)
                 for row, i in enumerate(poses)]
        try:
            check_pictures('dataset', str(self._list('K')),
                           (info['img_path'] for info in found))
        except MissingDataError as error:
            raise MissingDataError(
                f'{str(error).partition(". ")[0]}. Each of the versions '
                f'{", ".join(self.versions)} has a picture of each pose; of a set with '
                f"one picture a pose, write versions=('gs',). {DOWNLOAD}") from error
        return found

    def get_data_info(self, idx: int) -> dict:
        """Return what the pipeline starts from."""
        info = super().get_data_info(idx)
        names = {'K': 'K', 'gt_joints': 'xyz', 'gt_vertices': 'verts'}
        return info | {name: self.arrays[of][info['pose']].copy()
                       for name, of in names.items()}

    def hands(self) -> tuple[np.ndarray, np.ndarray]:
        """Return joints (poses, 21, 3) and vertices (poses, 778, 3) of this split."""
        self.full_init()
        return self.arrays['xyz'], self.arrays['verts']

    def _list(self, name: str) -> Path:
        return Path(self.data_root, f'{self.folder}_{name}.json')

    def _check_geometry(self, arrays: dict[str, np.ndarray]) -> None:
        """Refuse hands behind the camera, and joints of other hands than the vertices.

        Raises:
            DataError: One is.
        """
        joints, vertices = arrays['xyz'], arrays['verts']
        tips = np.linalg.norm(joints[:, list(FROM_VERTICES)]
                              - vertices[:, list(FROM_VERTICES.values())], axis=2)
        faults = {
            'shows its hand behind the camera': (joints[..., 2].min(1) <= 0)
            | (vertices[..., 2].min(1) <= 0),
            f'has tips of fingers more than {1000 * MAX_TIP_ERROR:.0f} mm away from '
            'their vertices (of version 2, 6 mm at most)': tips.max(1) > MAX_TIP_ERROR}
        for fault, is_faulty in faults.items():
            if is_faulty.any():
                raise DataError(f'{self.data_root}: of the {self.folder} lists, entry '
                                f'{is_faulty.argmax()} {fault}. {DOWNLOAD}')
