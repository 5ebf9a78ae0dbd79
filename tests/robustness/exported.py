"""Exported files: their metadata, their graphs, and the files beside them."""
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime  # noqa: F401 - imported before the fork
import openvino
from onnx import TensorProto, helper, numpy_helper

from mmfastvit_runtime import KEY, draw, load
from mmfastvit_runtime.drawing import describe

from .case import Case, Kind
from .damage import append, cut, flip, mix, no_file_of_ours, write

CLASSES = ['circle', 'square', 'triangle']
TASKS = {'detection': ['boxes', 'scores', 'labels', 'masks'],
         'segmentation': ['labels', 'logits'], 'classification': ['scores'],
         'features': ['stage1']}
RESIZE = {'detection': [dict(type='Resize', scale=[64, 64], keep_ratio=True)],
          'segmentation': [dict(type='Resize', scale=[64, 48], keep_ratio=False),
                           dict(type='ResizeToMultiple', size_divisor=32)],
          'classification': [
              dict(type='ResizeEdge', scale=40, edge='short', backend='pillow',
                   interpolation='bicubic'),
              dict(type='CenterCrop', crop_size=[32, 32])],
          'features': []}
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def metadata(task: str) -> dict[str, Any]:
    """Return what the exporter writes about a model."""
    found = dict(
        task=task, outputs=TASKS[task], classes=CLASSES, size=None, batch=None,
        palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]], resize=RESIZE[task],
        layout='(B, 3, H, W) uint8, BGR', mean=[0., 0., 0.], std=[1., 1., 1.],
        to_rgb=True, pad_divisor=1, backbone='FastViT', embed_dims=[48, 96, 192, 384],
        depths=[2, 2, 4, 2], versions=dict(mmfastvit='0.1.0', torch='2.11.0'))
    if task == 'detection':
        found |= dict(score_threshold=0.05, iou_threshold=0.5, max_detections=100,
                      mask_threshold=0.5, pasted=False, category_ids=[1, 2, 3])
    return found


def graph(task: str, changes: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """Return a tiny model with a task's inputs and outputs.

    Args:
        task: One of ``TASKS``.
        changes: Arrays in the place of some outputs of a detector.
    """
    nodes = [helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
             helper.make_node('GlobalAveragePool', ['x'], ['mean'])]
    random = np.random.default_rng(1)
    arrays = {'kernel': random.random((3, 3, 1, 1), np.float32) / 255}
    if task == 'detection':
        arrays |= dict(
            fixed_boxes=np.array([[4, 5, 30, 40], [1, 2, 60, 50]], np.float32),
            fixed_scores=np.array([0.9, 0.5], np.float32),
            fixed_labels=np.array([0, 2]), fixed_masks=random.random(
                (2, 28, 28), np.float32))
        arrays |= {f'fixed_{name}': value for name, value in (changes or {}).items()}
        nodes += [helper.make_node('Identity', [f'fixed_{name}'], [name])
                  for name in TASKS[task]]
    else:
        pooled = task == 'classification'
        nodes.append(helper.make_node('Conv', ['mean' if pooled else 'x', 'kernel'],
                                      ['maps']))
        if pooled:
            nodes += [helper.make_node('Flatten', ['maps'], ['flat']),
                      helper.make_node('Softmax', ['flat'], ['scores'])]
        elif task == 'segmentation':
            nodes += [helper.make_node('Identity', ['maps'], ['logits']),
                      helper.make_node('ArgMax', ['maps'], ['labels'], axis=1,
                                       keepdims=0)]
        else:
            nodes.append(helper.make_node('Identity', ['maps'], ['stage1']))
    outputs = [helper.make_tensor_value_info(
        name, TensorProto.INT64 if name == 'labels' else TensorProto.FLOAT, None)
        for name in TASKS[task]]
    made = helper.make_graph(
        nodes, task, [helper.make_tensor_value_info(
            'image', TensorProto.UINT8, ['batch', 3, 'height', 'width'])], outputs,
        [numpy_helper.from_array(value, name) for name, value in arrays.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid('', 18)],
                             ir_version=9)


def write_onnx(path: Path, task: str, text: str | None,
               changes: dict[str, np.ndarray] | None = None) -> Path:
    model = graph(task, changes)
    if text is not None:
        helper.set_model_props(model, {KEY: text})
    onnx.save(model, path)
    return path


def write_openvino(source: Path, path: Path, text: str | None) -> Path:
    model = openvino.convert_model(source)
    if text is not None:
        model.set_rt_info(text, KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def prepare(good: Path) -> None:
    for task in TASKS:
        text = json.dumps(metadata(task))
        source = write_onnx(good / f'{task}.onnx', task, text)
        write_openvino(source, good / f'{task}.xml', text)
        for name in (f'{task}.onnx', f'{task}.xml'):
            use(good / name)  # or the adversary is at fault


def use(path: Path) -> dict[str, np.ndarray]:
    """Predict, describe and draw, as the command line does."""
    model = load(str(path))
    found = model(PICTURE)
    describe(found)
    if model.metadata['task'] != 'features':
        draw(PICTURE, found)
    return dict(found)


def using(path: Path, task: str, good: Path, untold: bool = False) -> Case:
    expected = use(good / f'{task}.onnx')

    def same(found: dict[str, np.ndarray]) -> bool:
        return found.keys() == expected.keys() and all(
            np.shape(found[name]) == np.shape(value)
            and np.allclose(found[name], value, atol=1e-4)
            for name, value in expected.items())

    return Case(lambda: use(path), same, [path.name, path.stem], untold)


def damaged(change) -> Any:
    """Return a damage to the bytes of a file; neither format has a checksum."""
    def damage(random: Random, folder: Path, good: Path) -> Case:
        task = random.choice(list(TASKS))
        suffix = random.choice(('onnx', 'onnx', 'onnx', 'xml', 'bin'))
        for part in ('xml', 'bin'):
            write(folder / f'{task}.{part}', (good / f'{task}.{part}').read_bytes())
        path = write(folder / f'{task}.{suffix}', change(
            random, (good / f'{task}.{suffix}').read_bytes()))
        return using(path.with_suffix('.xml') if suffix == 'bin' else path, task, good,
                     untold=change in (flip, mix))
    damage.__name__ = f'{change.__name__}_of_a_file'
    return damage


ODD = (None, True, False, 0, -1, 1.5, 1e300, 2**40, float('nan'), float('inf'), '', 'x',
       [], {}, [None], [[]], [1], [0, 0], [-5, 7], [2**31, 2**31], [float('nan')] * 2,
       ['x', 'y'], {'type': 'x'}, [{'type': 'Resize'}], 'detection', 'segmentation')


def wrong_metadata(random: Random, folder: Path, good: Path) -> Case:
    """Write metadata of which a part, or all, is not as it has to be.

    A wrong value may be one that is allowed; nothing then says what was meant.
    """
    task = random.choice(list(TASKS))
    found = metadata(task)
    for _ in range(random.choice((1, 1, 1, 2))):
        name = random.choice(list(found))
        way = random.randrange(4)
        if way == 0:
            del found[name]
        elif way == 1 and isinstance(found[name], list) and found[name]:
            found[name] = list(found[name])
            found[name][random.randrange(len(found[name]))] = random.choice(ODD)
        elif way == 2 and found['resize'] and isinstance(found['resize'][0], dict):
            step = dict(found['resize'][0])
            step[random.choice((*step, 'more'))] = random.choice(ODD)
            found['resize'] = [step, *found['resize'][1:]]
        else:
            found[name] = random.choice(ODD)
    text = json.dumps(found)
    if random.random() < 0.2:
        text = random.choice(('{}', 'null', '[]', '1', '"x"', '', text[:-9], '{' * 5000,
                              '[' * 100000, '\ufeff' + text, '{"task": 1e999}', None))
    path = write_onnx(folder / f'{task}.onnx', task, text)
    if random.random() < 0.2:
        path = write_openvino(path, folder / f'{task}.xml', text)
    return using(path, task, good, untold=True)


def wild_outputs(random: Random, folder: Path, good: Path) -> Case:
    """Let a detector find boxes, scores, labels and masks that cannot be."""
    wild = np.array(random.choices((np.nan, np.inf, -np.inf, 1e30, -1e30, 2.**31, -5, 0,
                                    3), k=8), np.float32).reshape(2, 4)
    changes = random.choice((
        {'boxes': wild}, {'boxes': wild[:, :3]}, {'scores': wild[0, :2]},
        {'labels': np.array([random.choice((3, -1, 99, 2**40))] * 2)},
        {'masks': np.full((2, 28, 28), wild[0, 0], np.float32)},
        {'masks': np.zeros((2, 0, 0), np.float32)}, {'masks': np.zeros((1, 2, 2),
                                                                       np.float32)},
        {name: np.zeros((0, *shape), kind) for name, shape, kind in (
            ('boxes', (4,), np.float32), ('scores', (), np.float32),
            ('labels', (), np.int64), ('masks', (28, 28), np.float32))}))
    found = metadata('detection')
    found['classes'] = random.choice((CLASSES, ['круг', '四角', '△'], ['', ' ', '\n']))
    path = write_onnx(folder / 'detection.onnx', 'detection', json.dumps(found),
                      changes)
    return using(path, 'detection', good, untold=True)  # the graph says so


def missing_parts(random: Random, folder: Path, good: Path) -> Case:
    """Leave out the weights beside a file, exchange them, or give no model."""
    task, other = random.sample(list(TASKS), 2)
    way = random.choice(('no bin', 'other bin', 'external', 'other file', 'other graph',
                         'nothing'))
    path = folder / f'{task}.{"xml" if "bin" in way else "onnx"}'
    if 'bin' in way:
        write(path, (good / path.name).read_bytes())
        if way == 'other bin':
            write(path.with_suffix('.bin'), random.choice((
                b'', (good / f'{other}.bin').read_bytes(), random.randbytes(7))))
    elif way == 'external':
        onnx.save(onnx.load(good / path.name), path, save_as_external_data=True,
                  size_threshold=0, location='weights.data')
        (folder / 'weights.data').write_bytes(cut(
            random, (folder / 'weights.data').read_bytes()))
        if random.random() < 0.5:
            (folder / 'weights.data').unlink()
    elif way == 'other file':
        path = write(path.with_suffix(random.choice(('.onnx', '.xml', '.pt2', '.pth'))),
                     no_file_of_ours(random))
    elif way == 'other graph':  # the metadata of another task
        write_onnx(path, task, json.dumps(metadata(other)))
    return using(path, task, good, untold=way == 'other bin')


KIND = Kind(prepare, (damaged(flip), damaged(cut), damaged(mix), damaged(append),
                      wrong_metadata, wrong_metadata, wild_outputs, missing_parts),
            count=320)
