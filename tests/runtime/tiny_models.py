"""Exported files of a few operators, made in milliseconds and without a network."""
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmfastvit_runtime.meshes import BONES

COLOURS = [[220, 20, 60], [0, 200, 0], [40, 60, 255]]
OUTPUTS = {'classification': ['scores'], 'segmentation': ['labels', 'logits'],
           'detection': ['boxes', 'scores', 'labels'], 'features': ['stage1'],
           'hand_mesh': ['uv', 'joints', 'vertices']}


def metadata(task: str, /, **changes) -> dict:
    """Return what a file of a task says of itself, but for ``changes``."""
    found = dict(task=task, outputs=OUTPUTS[task], classes=['circle', 'square', 'star'],
                 palette=COLOURS, size=None, batch=None, resize=[])
    if task == 'detection':
        found.update(score_threshold=0.05, mask_threshold=0.5)
    return {**found, **changes}


def write_model(path: Path, task: str, objects: dict[str, np.ndarray] | None = None,
                said: dict | str | None = None) -> Path:
    """Write an ``.onnx`` file.

    Args:
        path: Of the file.
        task: A classifier's scores and a segmentor's logits are the picture's channels;
            a detector finds ``objects``, an estimator of hands finds them in every
            picture.
        objects: ``boxes``, ``scores``, ``labels`` and maybe ``masks``; or what
            :func:`hand` returns.
        said: Its metadata, a dict or a text; None takes :func:`metadata`.
    """
    nodes, outputs = [helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT)
                      ], []
    if task == 'classification':
        nodes += [helper.make_node('ReduceMean', ['x'], ['mean'], axes=[2, 3],
                                   keepdims=0),
                  helper.make_node('Softmax', ['mean'], ['scores'], axis=1)]
        outputs = [('scores', TensorProto.FLOAT, 2)]
    elif task == 'segmentation':
        nodes += [helper.make_node('Identity', ['x'], ['logits']),
                  helper.make_node('ArgMax', ['x'], ['labels'], axis=1, keepdims=0)]
        outputs = [('labels', TensorProto.INT64, 3), ('logits', TensorProto.FLOAT, 4)]
    elif task == 'features':
        nodes += [helper.make_node('Identity', ['x'], ['stage1'])]
        outputs = [('stage1', TensorProto.FLOAT, 4)]
    for name, array in (objects or {}).items():
        of_one = task == 'hand_mesh'
        nodes.append(helper.make_node(
            'Constant', [], [f'{name}_of_one' if of_one else name],
            value=numpy_helper.from_array(array)))
        if of_one:  # as often as there are pictures
            nodes += [
                helper.make_node('Shape', ['image'], [f'{name}_count'], start=0, end=1),
                helper.make_node('Constant', [], [f'{name}_sides'], value_ints=[1, 1]),
                helper.make_node('Concat', [f'{name}_count', f'{name}_sides'],
                                 [f'{name}_times'], axis=0),
                helper.make_node('Tile', [f'{name}_of_one', f'{name}_times'], [name])]
        outputs.append((name, helper.np_dtype_to_tensor_dtype(array.dtype), array.ndim))
    image = helper.make_tensor_value_info('image', TensorProto.UINT8,
                                          [None, 3, None, None])
    graph = helper.make_graph(
        nodes, 'tiny', [image],
        [helper.make_tensor_value_info(name, kind, [None] * sides)
         for name, kind, sides in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)],
                              ir_version=8)
    if said is None:
        said = metadata(task)
        if task == 'detection':
            said['outputs'] = list(objects)
    entry = model.metadata_props.add()
    entry.key = 'mmfastvit'
    entry.value = said if isinstance(said, str) else json.dumps(said)
    onnx.save(model, path)
    return path


def objects(boxes: list, masks: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return what a detector finds: sure of all, labels 0, 1, 2, 0, …"""
    found = dict(boxes=np.array(boxes, np.float32).reshape(-1, 4),
                 scores=np.full(len(boxes), 0.9, np.float32),
                 labels=np.arange(len(boxes)) % 3)
    return found if masks is None else {**found, 'masks': masks}


def hand() -> tuple[dict[str, np.ndarray], list[list[int]]]:
    """Return a flat, upright hand in the middle of a square picture, and its triangles.

    Each bone is two triangles, 8 mm wide; 0.05 m and 0.03 m three times are a finger.
    """
    joints = np.zeros((1, 21, 3), np.float32)
    for finger, angle in enumerate(np.deg2rad([-40, -20, 0, 20, 40])):
        away = np.array([np.sin(angle), -np.cos(angle), 0])
        for step in range(4):
            joints[0, 4 * finger + step + 1] = (0.05 + 0.03 * step) * away
    joints -= joints[:, 9:10]  # the middle finger's root
    shift = np.array([0.008, 0, 0], np.float32)
    vertices = np.concatenate([joints - shift / 2, joints + shift / 2], 1)
    faces = [face for start, end in BONES for face in (
        [start, end, start + 21], [end, end + 21, start + 21])]
    return dict(uv=0.5 + 4 * joints[..., :2], joints=joints, vertices=vertices), faces


def write_pictures(folder: Path, sizes: list[tuple[int, int] | None]) -> Path:
    """Write ``00.png``, ``01.png``, … of random pixels into a new folder.

    Args:
        folder: To be made.
        sizes: Height and width of each; None stands for a file that is no picture.
    """
    folder.mkdir()
    random = np.random.RandomState(0)
    for i, size in enumerate(sizes):
        path = folder / f'{i:0{len(str(len(sizes) - 1))}}.png'
        if size is None:
            path.write_bytes(b'no picture')
        else:
            cv2.imwrite(str(path), random.randint(0, 256, (*size, 3), np.uint8))
    return folder
