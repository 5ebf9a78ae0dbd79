"""A program of PyTorch as ExecuTorch's: ``executorch_program.py IN.pt2 OUT.pte``."""
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
    program = torch.export.load(sys.argv[1])
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(sys.argv[2]).write_bytes(lowered.to_executorch().buffer)


if __name__ == '__main__':
    main()
