"""Contestants that run outside of PyTorch, exported on the spot."""
import tempfile
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmfastvit.models.reparam import reparameterize
from mmfastvit.utils.errors import ArgumentError, CheckpointError
from mmfastvit.utils.files import size_of
from mmfastvit_runtime import PredictionError

from .contestants import EXPORTED, Quality

if TYPE_CHECKING:  # it needs mmcv
    from mmfastvit.export.formats import Format


class _Maps(nn.Module):
    """A backbone as the exporter wants it."""

    def __init__(self, model: nn.Module, count: int):
        super().__init__()
        self.model = model
        self.outputs = [f'stage{i + 1}' for i in range(count)]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) to its feature maps."""
        return tuple(self.model(image))


class ExportedBackbone(nn.Module):
    """A backbone in a file, behind PyTorch's interface.

    It takes every size of picture, if the format can.

    Args:
        model: The backbone, to be exported as it is.
        x: Its input (B, 3, H, W); int8 is calibrated with it, which is enough for
            times, but not for use.
        form: Of ``EXPORTED``.

    Raises:
        ArgumentError: A package is missing, or the exporter cannot follow.
    """

    def __init__(self, model: nn.Module, x: Tensor, form: str):
        super().__init__()
        from mmfastvit.export.formats import FORMATS, format_of, write_source
        name, dtype = EXPORTED[form]
        kind = format_of(f'model{FORMATS[name].suffix}')
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            maps = _Maps(model, len(model(x)))
            metadata = dict(
                task='features', outputs=maps.outputs, classes=[], palette=[],
                resize=[], batch=1 if kind.one_picture else len(x),
                size=list(x.shape[2:]) if kind.is_static or kind.is_bounded else None)
            if kind.is_mobile:
                metadata['network'] = dict(outputs=maps.outputs, margin=[0, 0, 0])
                maps.to(memory_format=torch.contiguous_format)
            path = Path(folder) / f'model{kind.suffix}'
            x = x[:metadata['batch']]
            if dtype:
                _, source = write_source(kind, maps, x, metadata, Path(folder))
                kind.reduce(source, path, dtype, [x.numpy()])
            else:
                kind.write(maps, x, path, metadata)
            self.engine = kind.open(path, **_threads(kind))

    def __deepcopy__(self, memo: dict) -> 'ExportedBackbone':
        return self  # engines cannot be copied, and nothing in one changes

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Map (B, 3, H, W) to the feature maps."""
        return [torch.from_numpy(array) for array in
                self.engine.run(x.numpy()).values()]


def exported_model(cfg: Config, model: nn.Module, form: str, pictures: list[Tensor],
                   is_trained: bool) -> tuple[nn.Module, Quality]:
    """Return a whole model, exported and verified, with the same ``test_step``.

    Args:
        cfg: Of the model.
        model: Whose weights it takes, in train form.
        form: Of ``EXPORTED``.
        pictures: (3, H, W) uint8 each, BGR; a file that takes one size takes that of
            the first.
        is_trained: Whether its weights are more than random.

    Raises:
        ArgumentError: It cannot be exported.
        CheckpointError: The file computes something else.
        DataError: Data for int8 is missing.
    """
    from mmfastvit.export import Options, Quantization, export
    from mmfastvit.export.evaluation import ExportedPredictor, metrics
    from mmfastvit.export.formats import FORMATS
    from mmfastvit.export.verification import verify
    name, dtype = EXPORTED[form]
    kind = FORMATS[name]
    if dtype and not is_trained:
        raise ArgumentError(f'{dtype} is judged by the metric of a trained model: name '
                            'its checkpoint (--checkpoint).')
    size = tuple(pictures[0].shape[1:]) if kind.is_static or kind.is_bounded else None
    pictures = [one for one in pictures if size in (None, tuple(one.shape[1:]))]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / 'model.pth'
        torch.save(model.state_dict(), checkpoint)
        path = Path(folder) / 'file' / f'model{kind.suffix}'
        report = export(cfg, str(checkpoint), str(path), Options(
            size=size, quantization=dtype and Quantization(dtype)))
        predictor = ExportedPredictor(str(path), cfg.default_scope, **_threads(kind))
        try:
            rows = verify(reparameterize(model), predictor.exported, pictures)
        except PredictionError as error:
            raise CheckpointError(str(error)) from error
        differences = {row.quantity: max(other.difference for other in rows
                                         if other.quantity == row.quantity)
                       for row in rows if row.compared}
        if report.costs:  # which tell the metrics
            points = {name: after for name, (_, after) in report.costs.metrics.items()}
        else:
            points = metrics(cfg, predictor) if is_trained else {}
        return predictor, Quality(report.size, {
            name: value if isfinite(value) else None
            for name, value in differences.items()}, points, size)


def weights_quality(cfg: Config, model: nn.Module, is_trained: bool) -> Quality:
    """Return what to know of a model in PyTorch."""
    from mmfastvit.export.evaluation import metrics
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / 'model.pth')
        return Quality(size_of(Path(folder)), {},
                       metrics(cfg, model) if is_trained else {})


def _threads(kind: 'Format') -> dict[str, int]:
    """Return the option of an engine, if it has one."""
    return dict(threads=torch.get_num_threads()) if kind.has_threads else {}
