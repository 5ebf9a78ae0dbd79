"""ONNX files whose network computes in 8 or 16 bits; the rest stays in float32."""
import ast
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from mmfastvit.utils.errors import ArgumentError

from .tracing import quiet

LAYERS = ('Conv', 'Gemm', 'MatMul')  # that 8 bits are for
SCOPES = 'pkg.torch.onnx.name_scopes'  # where PyTorch's exporter says whose a node is


def write_float16(plain: Path, out: Path) -> None:
    """Write the network in float16; what prepares, decodes and selects is as it was.

    Pixels up to 255 and coordinates up to thousands need more digits than float16
    has.
    """
    model = onnx.load(plain)
    own = network_nodes(model)
    rest = [node.name for node in model.graph.node if node.name not in own]
    with quiet():
        model = convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=True,
            node_block_list=rest)
    _tidy_casts(model.graph)
    onnx.save(model, out)


def _tidy_casts(graph: onnx.GraphProto) -> None:
    """Go around what the converter should not have put in.

    It casts a map once for each of its readers, under one name, and what goes from
    one node in float32 to another, coordinates for example, to float16 and back.
    """
    nodes = {}
    for node in graph.node:
        nodes.setdefault(node.output[0], node)

    def origin(name: str) -> str:
        back = nodes.get(name)
        there = _is_cast(back, 'cast_to_fp32') and nodes.get(back.input[0])
        return there.input[0] if _is_cast(there, 'cast_to_fp16') else name

    for node in nodes.values():
        inputs = [origin(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    nodes = list(nodes.values())
    del graph.node[:]
    graph.node.extend(nodes)


def _is_cast(node: onnx.NodeProto | None, kind: str) -> bool:
    return bool(node) and node.name.endswith(f'{kind}_node')  # the converter's names


def write_int8(plain: Path, out: Path, pictures: Sequence[np.ndarray],
               in_float32: Sequence[str] = ()) -> None:
    """Write the network's convolutions and matrix products in int8.

    Weights are signed, a scale for each channel; activations are unsigned, a scale
    for each map, from their range on some pictures.

    Args:
        plain: In float32, from :func:`mmfastvit.export.formats.onnx.write`.
        out: File to write.
        pictures: (1, 3, H, W) uint8, BGR, each.
        in_float32: Names of layers that stay.

    Raises:
        ArgumentError: None is left.
    """
    own = network_nodes(onnx.load(plain, load_external_data=False))
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / 'prepared.onnx'
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        layers = [node.name for node in onnx.load(prepared).graph.node
                  if node.op_type in LAYERS and node.name in own
                  and node.name not in in_float32]
        if not layers:  # the library would take all of the graph
            raise ArgumentError('No layer of the network is left to be quantized.')
        quantize_static(
            prepared, out, _Reader(pictures), quant_format=QuantFormat.QDQ,
            nodes_to_quantize=layers, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def most_sensitive(quantized: Path, pictures: Sequence[np.ndarray]) -> list[str]:
    """Return the quantized layers, those first whose input loses most by rounding.

    Args:
        quantized: From :func:`write_int8`.
        pictures: (1, 3, H, W) uint8, BGR, each.
    """
    model = onnx.load(quantized)
    made_by = {name: node for node in model.graph.node for name in node.output}
    rounded = {}  # by layer, its input before and after
    for node in model.graph.node:
        back = made_by.get(node.input[0]) if node.op_type in LAYERS else None
        if back is not None and back.op_type == 'DequantizeLinear':
            rounded[node.name] = made_by[back.input[0]].input[0], back.output[0]
    names = sorted({name for pair in rounded.values() for name in pair}
                   - {output.name for output in model.graph.output})
    model.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, names))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=['CPUExecutionProvider'])
    loss = dict.fromkeys(rounded, 0.)
    for picture in pictures:
        maps = dict(zip(names, session.run(names, {'image': picture})))
        for layer, (before, after) in rounded.items():
            size = np.linalg.norm(maps[before])
            loss[layer] += np.linalg.norm(maps[before] - maps[after]) / (size or 1.)
    return sorted(loss, key=loss.get, reverse=True)


def network_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Return name and operator of what is part of the toolbox's modules.

    What else there is prepares pictures, decodes and selects.
    """
    found = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props
                       if entry.key == SCOPES), '[]')
        if any(scope.split('.')[0] in ('model', 'backbone')
               for scope in ast.literal_eval(scopes)):
            found[node.name] = node.op_type
    return found


class _Reader(CalibrationDataReader):

    def __init__(self, pictures: Sequence[np.ndarray]):
        self.rest = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        picture = next(self.rest, None)
        return None if picture is None else {'image': picture}
