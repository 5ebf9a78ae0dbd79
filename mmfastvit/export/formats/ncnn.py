"""ncnn's files, for phones and boards, through pnnx."""
import hashlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmfastvit.export.tracing import quiet
from mmfastvit.utils.errors import ArgumentError
from mmfastvit_runtime import KEY

from .source import Source

# To be added to a side of the example: what changes between the two is no constant.
OTHER = (64, 128)
LIMIT_S = 3600


def write(module: nn.Module, pictures: Tensor, path: Path, metadata: dict,
          float16: bool = False) -> None:
    """Write ``path``, ``.ncnn.param``, and its weights, ``.ncnn.bin``, beside it.

    The metadata, for which ncnn has no place, is in ``.ncnn.json``.

    Args:
        module: :class:`mmfastvit.export.network.Network`.
        pictures: (1, 3, H, W), of the shape to record with.
        path: File to write.
        metadata: From :func:`mmfastvit.export.metadata.describe`; where ``size`` is
            None, height and width may vary.
        float16: Whether to store the weights so, rounded.

    Raises:
        ArgumentError: The converter wrote nothing, or operators that ncnn lacks.
    """
    import pnnx
    example = pictures[:1].float()
    height, width = example.shape[2:]
    shapes = [f'inputshape=[1,3,{height},{width}]f32']
    if metadata['size'] is None:
        shapes.append(
            f'inputshape2=[1,3,{height + OTHER[0]},{width + OTHER[1]}]f32')
    with tempfile.TemporaryDirectory() as folder:
        with torch.no_grad(), quiet():
            traced = torch.jit.trace(module, (example, ), check_trace=False)
            # Inlined; of modules with a map that nobody reads, pnnx dies.
            traced = torch.jit.freeze(traced.eval(), optimize_numerics=False)
        traced.save(str(Path(folder) / 'model.pt'))
        done = subprocess.run(
            [pnnx.EXEC_PATH, 'model.pt', *shapes, f'fp16={float16:d}'], cwd=folder,
            timeout=LIMIT_S, text=True, errors='replace', stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        parts = [Path(folder) / f'model.ncnn.{name}' for name in ('param', 'bin')]
        if done.returncode or not all(map(Path.is_file, parts)):
            last = (done.stdout.strip().splitlines() or ['it said nothing'])[-1]
            raise ArgumentError(
                f'pnnx wrote no file of ncnn (exit code {done.returncode}): {last}. '
                'Take another format.')
        lacking = sorted(name for name in operators(parts[0]) if '.' in name
                         or name.startswith(('aten::', 'prim::')))
        if lacking:
            raise ArgumentError(
                f'ncnn has no operators for {", ".join(lacking)} of this model. ' + (
                    'Name one size (--static HxW), for which it may need none of them, '
                    'take' if metadata['size'] is None else 'Take') +
                ' another format, or export its backbone alone (--backbone-only).')
        contents = dict(param=_named(parts[0].read_text(), module.outputs).encode(),
                        bin=parts[1].read_bytes())
    for suffix, content in contents.items():
        path.with_suffix(f'.{suffix}').write_bytes(content)
    digests = {suffix: hashlib.sha256(content).hexdigest()
               for suffix, content in contents.items()}
    path.with_suffix('.json').write_text(json.dumps({KEY: metadata,
                                                     'sha256': digests}))


def reduce(source: Source, path: Path, dtype: str, pictures: Sequence[np.ndarray] = (),
           in_float32: Sequence[str] = ()) -> None:
    """Write a file in float16; see ``Format.reduce``."""
    write(source.module, source.pictures, path, source.metadata, float16=True)


def operators(path: Path) -> Counter[str]:
    """Return how often each operator is in a ``.param``."""
    lines = path.read_text().splitlines()[2:]  # after the version and the counts
    return Counter(line.split()[0] for line in lines if line.strip())


def _named(param: str, outputs: list[str]) -> str:
    """Return a ``.param`` whose inputs and outputs have our names, not pnnx's."""
    names = {'in0': 'image', **{f'out{i}': name for i, name in enumerate(outputs)}}
    return re.sub(r'\S+', lambda word: names.get(word[0], word[0]), param)
