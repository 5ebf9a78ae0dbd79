"""A model as a recorded program, which no longer needs the toolboxes."""
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .converters.axes import bounded_axes


def record(module: nn.Module, pictures: Tensor, metadata: dict
           ) -> torch.export.ExportedProgram:
    """Return a module as a program.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`.
        pictures: (B, 3, H, W) uint8, of the shape to record with.
        metadata: From :func:`mmfastvit.export.metadata.describe`; where ``size``
            is None, height and width may vary, as ``sides`` say, if they do; where
            ``batch`` is None, that.
    """
    dynamic, sides = {}, metadata.get('sides')
    if sides:
        dynamic = bounded_axes(**sides)
    elif metadata['size'] is None:
        dynamic = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    if metadata['batch'] is None:
        dynamic[0] = torch.export.Dim.DYNAMIC
    with torch.no_grad(), quiet():
        program = torch.export.export(module, (pictures, ),
                                      dynamic_shapes=(dynamic or None, ))
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # names files of this machine
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what exporters say of their own workings."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'coremltools')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
