"""Hand meshes: pictures in, a hand's joints and vertices out."""
from typing import Any

from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError
from mmfastvit_runtime.hands import ARRAYS, are_faces
from mmfastvit_runtime.limits import MAX_FACES, MAX_VERTICES

from .preprocessing import Preprocess


class HandMesh(nn.Module):
    """A :class:`mmfastvit.models.hands.HandMeshEstimator` as it is exported.

    Args:
        model: That one.
    """

    outputs = list(ARRAYS)
    lowest_opset = 13  # of what takes one axis apart into two

    def __init__(self, model: nn.Module):
        super().__init__()
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W), 0 to 255, to a hand in each picture.

        Returns:
            ``uv`` (B, 21, 2), shares of width and height, and ``joints`` (B, 21, 3)
            and ``vertices`` (B, V, 3), in metres from the middle finger's root.
        """
        found = self.model.head(self.model.extract_feat(self.preprocess(image)))
        return found.uv, found.joints, found.vertices

    @staticmethod
    def describe_data(metainfo: dict[str, Any]) -> dict[str, Any]:
        """Return what metadata say of the data that a model was trained with.

        ``faces`` are how vertices are joined to triangles; none where nothing tells.

        Raises:
            ArgumentError: They are no triangles.
        """
        faces = metainfo.get('faces') or []
        if not are_faces(faces):
            raise ArgumentError(
                'faces of the data set, or of the checkpoint that tells of it, are no '
                f'triangles: allowed are up to {MAX_FACES:,} rows of three numbers of '
                f'vertices, 0 to {MAX_VERTICES - 1:,}. Leave hand_file out to draw '
                'points instead.')
        return dict(faces=faces)
