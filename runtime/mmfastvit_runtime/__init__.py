"""Exported files at work, without PyTorch and OpenMMLab.

Needs numpy, OpenCV, the library of the file (ONNX Runtime for one) and, for
models whose pictures Pillow resizes, that.

Example:
    >>> model = load('model.onnx')
    >>> found = model(read_picture('photo.jpg'))
    >>> found['boxes'].shape, found['scores'].shape
    ((7, 4), (7,))
"""
from .drawing import describe, draw
from .engines import KEY
from .errors import PredictionError
from .model import ExportedModel, Resized, load
from .pictures import read_picture, write_picture
from .prediction import Arrays, Prediction
from .version import __version__

__all__ = ['KEY', 'Arrays', 'ExportedModel', 'Prediction', 'PredictionError',
           'Resized', '__version__', 'describe', 'draw', 'load', 'read_picture',
           'write_picture']
