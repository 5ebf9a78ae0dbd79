"""ONNX files whose network computes in 8 or 16 bits; the rest stays in float32."""
import ast
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    qdq_loss_debug,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

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
    """Take out what the converter should not have put in.

    It casts a map once for each of its readers, under one name, and what goes from
    one node in float32 to another, coordinates for example, to float16 and back.
    """
    nodes = {}
    for node in graph.node:
        nodes.setdefault(node.output[0], node)

    def origin(name: str) -> str:
        back = nodes.get(name)
        there = _is_cast(back, onnx.TensorProto.FLOAT) and nodes.get(back.input[0])
        return there.input[0] if _is_cast(there, onnx.TensorProto.FLOAT16) else name

    for node in nodes.values():
        inputs = [origin(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    nodes = list(nodes.values())
    del graph.node[:]
    graph.node.extend(nodes)


def _is_cast(node: onnx.NodeProto | None, to: int) -> bool:
    return bool(node) and node.op_type == 'Cast' and node.attribute[0].i == to


def write_int8(plain: Path, out: Path, pictures: Sequence[np.ndarray],
               in_float32: Sequence[str] = ()) -> None:
    """Write the network's convolutions and matrix products in int8.

    Weights are signed, a scale for each channel; activations are unsigned, a scale
    for each map, from their range on some pictures.

    Args:
        plain: In float32, from :func:`mmfastvit.export.onnx_format.write`.
        out: File to write.
        pictures: (1, 3, H, W) uint8, BGR, each.
        in_float32: Names of layers that stay.
    """
    own = network_nodes(onnx.load(plain, load_external_data=False))
    layers = [name for name, kind in own.items()
              if kind in LAYERS and name not in in_float32]
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / 'prepared.onnx'
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, out, _Reader(pictures), quant_format=QuantFormat.QDQ,
            nodes_to_quantize=layers, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def most_sensitive(plain: Path, quantized: Path, pictures: Sequence[np.ndarray]
                   ) -> list[str]:
    """Return the quantized layers, those first whose input is least like float32.

    Args:
        plain: In float32.
        quantized: From :func:`write_int8`.
        pictures: (1, 3, H, W) uint8, BGR, each; few, for all maps are kept.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        maps = []
        for path in (plain, quantized):
            watched = Path(folder) / path.name
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, watched)
            maps.append(qdq_loss_debug.collect_activations(
                watched, _Reader(pictures)))
        matched = qdq_loss_debug.create_activation_matching(maps[1], maps[0])
        errors = qdq_loss_debug.compute_activation_error(matched)
    model = onnx.load(plain, load_external_data=False)
    own = network_nodes(model)
    ratio = {node.name: errors[node.input[0]]['qdq_err']  # signal to noise, dB
             for node in model.graph.node
             if own.get(node.name) in LAYERS and node.input[0] in errors}
    return sorted(ratio, key=ratio.get)


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
