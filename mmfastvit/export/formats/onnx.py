"""ONNX files, through PyTorch's exporters."""
import io
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.export.tracing import quiet, record
from mmfastvit_runtime import KEY

from .source import Source

# The first with a GELU of its own, which ONNX Runtime keeps in its blocked layout: a
# sixth faster than the same in five operators. The runtime has no RoIAlign at 22.
OPSET = 20
OPSETS = (11, 20)
COMPARED = 4  # pictures that tell how sensitive layers are
LOWEST = 18  # of the exporter for programs; below it, there is that for TorchScript


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict,
          opset: int = OPSET) -> None:
    """Write one file, weights inside; PyTorch puts more than 1.5 GB into ``.data``.

    Args:
        module: From :func:`mmfastvit.export.models.exportable`.
        pictures: (B, 3, H, W) uint8, of the shape to record with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`.
        opset: Version of ONNX's operators; those below 18 are for old runtimes and
            the compilers of boards.
    """
    if opset < LOWEST:
        _write_torchscript(module, pictures, path, metadata, opset)
        return
    program = record(module, pictures, metadata)
    with quiet():
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=['image'],
            output_names=module.outputs, verbose=False)
    exported.model.metadata_props[KEY] = json.dumps(metadata)
    exported.save(path)


def reduce(source: Source, path: Path, dtype: str, pictures: Sequence[np.ndarray] = (),
           in_float32: Sequence[str] = ()) -> None:
    """Write a file in fewer bits; see ``Format.reduce``."""
    from mmfastvit.export import fewer_bits
    if dtype == 'float16':
        fewer_bits.write_float16(source.plain, path)
    else:
        fewer_bits.write_int8(source.plain, path, pictures, in_float32)


def most_sensitive(source: Source, pictures: Sequence[np.ndarray]) -> list[str]:
    """Return names of layers; see ``Format.most_sensitive``."""
    from mmfastvit.export import fewer_bits
    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / 'quantized.onnx'
        fewer_bits.write_int8(source.plain, quantized, pictures)
        return fewer_bits.most_sensitive(quantized, pictures[:COMPARED])


def read_metadata(path: Path) -> dict:
    """Return the metadata of a file."""
    import onnx
    entries = onnx.load(path, load_external_data=False).metadata_props
    return json.loads(next(entry.value for entry in entries if entry.key == KEY))


def operators(path: Path) -> Counter[str]:
    """Return how often each operator is in a file."""
    import onnx
    graph = onnx.load(path, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def _write_torchscript(module: nn.Module, pictures: Tensor, path: Path,
                       metadata: dict, opset: int) -> None:
    """Write a file of old operators: attention in parts, constants folded."""
    import onnx
    import onnxruntime
    content = io.BytesIO()
    names = {0: 'batch'} if metadata['batch'] is None else {}
    if metadata['size'] is None:
        names |= {2: 'height', 3: 'width'}
    torch.onnx.register_custom_op_symbolic(
        'aten::scaled_dot_product_attention', _attention, opset)
    try:
        with torch.no_grad(), quiet():
            torch.onnx.export(module, (pictures, ), content, dynamo=False,
                              opset_version=opset, input_names=['image'],
                              output_names=module.outputs,
                              dynamic_axes={'image': names})
    finally:
        torch.onnx.unregister_custom_op_symbolic(
            'aten::scaled_dot_product_attention', opset)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Folds what is constant, and keeps to the operators of the standard.
    options.graph_optimization_level = \
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(content.getvalue(), options,
                                 providers=['CPUExecutionProvider'])
    model = onnx.load(path)
    for item in list(model.opset_import):  # the runtime adds its own, unused
        if item.domain:
            model.opset_import.remove(item)
    model.metadata_props.add(key=KEY, value=json.dumps(metadata))
    onnx.save(model, path)


def _attention(g, q, k, v, mask=None, dropout=None, causal=None, scale=None,
               gqa=None):
    """Say softmax(q k^T / sqrt(d) + mask) v in operators that all opsets have."""
    channels = g.op('Gather', g.op('Shape', q), g.op(
        'Constant', value_t=torch.tensor(3)))
    factor = g.op('Sqrt', g.op('Cast', channels, to_i=1))  # 1: to float32
    scores = g.op('MatMul', g.op('Div', q, factor), g.op(
        'Transpose', k, perm_i=[0, 1, 3, 2]))
    if not torch.onnx.symbolic_helper._is_none(mask):
        scores = g.op('Add', scores, mask)
    return g.op('MatMul', g.op('Softmax', scores, axis_i=3), v)
