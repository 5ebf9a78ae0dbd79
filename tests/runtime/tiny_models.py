"""Exported files of a few operators, made in milliseconds and without a network."""
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOURS = [[220, 20, 60], [0, 200, 0], [40, 60, 255]]
OUTPUTS = {'classification': ['scores'], 'segmentation': ['labels', 'logits'],
           'detection': ['boxes', 'scores', 'labels'], 'features': ['stage1']}


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
            a detector finds ``objects``.
        objects: ``boxes``, ``scores``, ``labels`` and maybe ``masks``.
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
        nodes.append(helper.make_node('Constant', [], [name],
                                      value=numpy_helper.from_array(array)))
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
