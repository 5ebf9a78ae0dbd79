"""Contestants that run outside of PyTorch, exported on the spot."""
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

SUFFIXES = {'onnxruntime': '.onnx', 'openvino': '.xml', 'int8': '.xml'}


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

    It takes every size of picture, as exported files do.

    Args:
        model: The backbone, to be exported as it is.
        x: Its input (B, 3, H, W); int8 is calibrated with it, which is enough for
            times, but not for use.
        form: Of ``SUFFIXES``: ONNX Runtime or OpenVINO in float32, or OpenVINO in
            int8.

    Raises:
        ArgumentError: A package is missing, or the exporter cannot follow.
    """

    def __init__(self, model: nn.Module, x: Tensor, form: str):
        super().__init__()
        from mmfastvit.export.formats import format_of, openvino
        from mmfastvit.export.formats.onnx import write
        from mmfastvit_runtime.engines import open_file
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = Path(folder) / f'model{SUFFIXES[form]}'
            format_of(path)
            plain = path.with_suffix('.onnx')
            maps = _Maps(model, len(model(x)))
            write(maps, x, plain, dict(
                task='features', outputs=maps.outputs, size=None, batch=len(x),
                classes=[], palette=[], resize=[]))
            if form == 'int8':
                from mmfastvit.export.fewer_bits import write_int8
                write_int8(plain, path.with_suffix('.int8.onnx'), [x.numpy()])
                plain = path.with_suffix('.int8.onnx')
            if path.suffix == '.xml':
                openvino.convert(plain, path)
            self.engine = open_file(path, threads=torch.get_num_threads())

    def __deepcopy__(self, memo: dict) -> 'ExportedBackbone':
        return self  # engines cannot be copied, and nothing in one changes

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Map (B, 3, H, W) to the feature maps."""
        return [torch.from_numpy(array) for array in
                self.engine.run(x.numpy()).values()]


def exported_model(cfg: Config, model: nn.Module, form: str, picture: Tensor
                   ) -> nn.Module:
    """Return a whole model, exported and verified, with the same ``test_step``.

    Args:
        cfg: Of the model.
        model: Whose weights it takes.
        form: Of ``SUFFIXES``.
        picture: (3, H, W) uint8, BGR, that int8 is calibrated with.

    Raises:
        ArgumentError: It cannot be exported.
        CheckpointError: The file computes something else.
    """
    from mmfastvit.export import export
    from mmfastvit.export.evaluation import ExportedPredictor
    from mmfastvit.export.formats import openvino
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / 'model.pth'
        torch.save(model.state_dict(), checkpoint)
        path = Path(folder) / f'model{SUFFIXES[form]}'
        if form == 'int8':
            from mmfastvit.export.fewer_bits import write_int8
            plain, quantized = path.with_name('plain.onnx'), path.with_suffix('.onnx')
            export(cfg, str(checkpoint), str(plain))
            write_int8(plain, quantized, [picture[None].numpy()])
            openvino.convert(quantized, path)
        else:
            export(cfg, str(checkpoint), str(path))
        return ExportedPredictor(str(path), cfg.default_scope,
                                 threads=torch.get_num_threads())
