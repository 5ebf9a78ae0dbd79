"""Hands drawn over their pictures, and from the side."""
import cv2
import numpy as np
from mmengine.registry import VISUALIZERS
from mmengine.visualization import Visualizer

from mmfastvit.datasets.projection import project
from mmfastvit.models.hands.sample import HandDataSample
from mmfastvit.utils.files import whole_file
from mmfastvit_runtime.hands import OPACITY
from mmfastvit_runtime.meshes import (
    draw_bones,
    draw_mesh,
    place_on_picture,
    side_view,
)


@VISUALIZERS.register_module()
class HandVisualizer(Visualizer):
    """Draws truth, prediction and the hand's side beside each other.

    Triangles come from the data set's ``faces``; without them, points are drawn.
    """

    def add_datasample(self, name: str, image: np.ndarray, data_sample: HandDataSample,
                       draw_gt: bool = True, draw_pred: bool = True, show: bool = False,
                       wait_time: float = 0, out_file: str | None = None, step: int = 0
                       ) -> None:
        """Draw one picture.

        Args:
            name: Of the picture.
            image: (H, W, 3) uint8, RGB: the file's, or what ``HandCrop`` made of it if
                the sample has no ``warp``.
            data_sample: With truth, prediction or both.
            draw_gt: Whether to draw the truth, if there is one.
            draw_pred: Whether to draw the prediction, if there is one.
            show: Whether to open a window.
            wait_time: Seconds that it stays open.
            out_file: File to write; None leaves it to the backends.
            step: For the backends.
        """
        faces = np.array((self.dataset_meta or {}).get('faces') or [], int
                         ).reshape(-1, 3)
        picture, panels = np.ascontiguousarray(image[..., ::-1]), []
        if draw_gt and 'gt_joints' in data_sample:
            joints, vertices, camera = (data_sample.get(key).cpu().numpy() for key in
                                        ('gt_joints', 'gt_vertices', 'K'))
            uv, points = (data_sample.from_cut(project(camera, places))
                          for places in (joints, vertices))
            panels.append(_overlay(picture, uv, points, vertices, faces))
        if draw_pred and 'pred_joints' in data_sample:
            uv, joints, vertices = (data_sample.get(key).cpu().numpy() for key in
                                    ('pred_uv', 'pred_joints', 'pred_vertices'))
            points = place_on_picture(joints, uv, vertices)
            panels += [_overlay(picture, uv, points, vertices, faces),
                       side_view(vertices, faces, len(picture))]
        drawn = np.concatenate(panels or [picture], 1)
        if show:
            self.show(drawn[..., ::-1], win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, drawn[..., ::-1], step)
            return
        with whole_file(out_file) as unfinished:
            cv2.imwrite(str(unfinished), drawn)


def _overlay(picture: np.ndarray, uv: np.ndarray, points: np.ndarray,
             vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return a copy of a picture, BGR, with mesh and bones.

    Args:
        picture: (H, W, 3) uint8.
        uv: (21, 2), joints, in pixels.
        points: (778, 2), vertices, in pixels.
        vertices: (778, 3), in metres.
        faces: (F, 3).
    """
    covered = picture.copy()
    draw_mesh(covered, points, vertices, faces)
    drawn = cv2.addWeighted(covered, OPACITY, picture, 1 - OPACITY, 0)
    draw_bones(drawn, uv)
    return drawn
