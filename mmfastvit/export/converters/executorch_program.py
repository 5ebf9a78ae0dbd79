"""A program of PyTorch as ExecuTorch's.

``executorch_program.py IN.pt2 OUT.pte [PICTURES SIDES]``: with PICTURES, a folder of
arrays (1, 3, H, W) float32 that tell the range of activations, in int8. SIDES is JSON,
between what height and width may vary.
"""
import json
import os
import site
import sys
from pathlib import Path


def main() -> None:
    # Behind its own packages, those of the environment that calls it.
    site.addsitedir(os.environ['MMFASTVIT_BESIDE'])
    import executorch
    import torch
    # It calls its compiler of schemata by name.
    tools = Path(list(executorch.__path__)[0]) / 'data' / 'bin'
    os.environ['PATH'] = f'{tools}{os.pathsep}{os.environ["PATH"]}'
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower
    source, path, *quantized = sys.argv[1:]
    program = torch.export.load(source)
    if quantized:
        folder, sides = quantized
        program = _int8(program, sorted(Path(folder).iterdir()), json.loads(sides))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(path).write_bytes(lowered.to_executorch().buffer)


def _int8(program, pictures: list[Path], sides: dict[str, int] | None):
    """Return a program with weights and activations in int8, of those with rules."""
    import numpy as np
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    rule = get_symmetric_quantization_config(is_per_channel=True)
    module = prepare_pt2e(program.module(check_guards=False),
                          XNNPACKQuantizer().set_global(rule))
    with torch.no_grad():
        for path in pictures:
            module(torch.from_numpy(np.load(path)))
        module = convert_pt2e(module)
    from axes import bounded_axes
    dynamic = sides and bounded_axes(**sides)
    return torch.export.export(module, program.example_inputs[0],
                               dynamic_shapes=(dynamic, ))


if __name__ == '__main__':
    main()
