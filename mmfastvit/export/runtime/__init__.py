"""Exported files at work, without PyTorch and OpenMMLab.

Needs numpy, OpenCV, the runtime of the file (ONNX Runtime or OpenVINO) and, for
models whose pictures Pillow resizes, that; nothing else of this package, so that this
folder can go where the model goes.

Example:
    >>> model = load('model.onnx')
    >>> found = model(read_picture('photo.jpg'))
    >>> found['boxes'].shape, found['scores'].shape
    ((7, 4), (7,))
"""
from .drawing import describe, draw
from .engines import KEY, Arrays
from .errors import PredictionError
from .model import ExportedModel, load
from .pictures import read_picture, write_picture

__all__ = ['KEY', 'Arrays', 'ExportedModel', 'PredictionError', 'describe', 'draw',
           'load', 'read_picture', 'write_picture']
