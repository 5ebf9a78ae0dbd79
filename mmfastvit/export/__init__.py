"""A trained model leaves as one verified file.

Pictures go in as they come from a file or a camera, boxes, masks, label maps or
scores come out: normalisation, post-processing, class names and the rule by which
pictures are resized are in the file. :mod:`mmfastvit_runtime` runs it without
PyTorch and OpenMMLab.
"""
from .export import Report, export
from .options import Options, Quantization

__all__ = ['Options', 'Quantization', 'Report', 'export']
