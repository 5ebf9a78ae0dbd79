"""ncnn, for ``.ncnn.param`` with its ``.bin`` and ``.json``."""
import hashlib
import json
from pathlib import Path

import numpy as np

from mmfastvit_runtime.errors import PredictionError, first_line
from mmfastvit_runtime.files import library_name
from mmfastvit_runtime.limits import MAX_METADATA
from mmfastvit_runtime.metadata import check_outputs, parse
from mmfastvit_runtime.prediction import Arrays

from .engine import KEY, Engine


class Ncnn(Engine):
    """ncnn on the CPU, for ``.ncnn.param`` with its ``.bin`` and ``.json`` beside it.

    Args:
        path: The file.
        threads: How many it may use; None leaves it to the library.
    """

    def __init__(self, path: Path, threads: int | None = None):
        import ncnn
        text = _metadata_beside(path)
        self.metadata = parse(path, text, needs_network=True)
        self.net = ncnn.Net()
        for name in ('fp16_packed', 'fp16_storage', 'fp16_arithmetic', 'bf16_storage'):
            setattr(self.net.opt, f'use_{name}', False)
        if threads:
            self.net.opt.num_threads = threads
        if self.net.load_param(library_name(path)) or self.net.load_model(
                library_name(path.with_suffix('.bin'))):
            raise ValueError('ncnn does not read it')
        self.names = self.metadata['network']['outputs']
        check_outputs(path, self.metadata, self.net.input_names(),
                      self.net.output_names())
        self.mat = ncnn.Mat

    def run(self, pictures: np.ndarray) -> Arrays:
        extractor = self.net.create_extractor()
        # It keeps no picture of its own.
        picture = self.mat(np.ascontiguousarray(pictures[0]))
        extractor.input('image', picture)
        found = {}
        for name in self.names:
            failed, values = extractor.extract(name)
            if failed:
                raise ValueError(f'ncnn cannot compute {name} ({failed})')
            found[name] = np.array(values)[None]
        return found


def _metadata_beside(path: Path) -> str:
    """Return the metadata of a file of ncnn, whose parts are what was exported.

    Raises:
        PredictionError: One is missing, or another than was exported together.
    """
    weights, beside = path.with_suffix('.bin'), path.with_suffix('.json')
    for part in (weights, beside):
        if not part.is_file():
            raise PredictionError(f'{path} needs {part} beside it: copy '
                                  f'{path.name}, {weights.name} and {beside.name}.')
    if beside.stat().st_size > MAX_METADATA:
        raise PredictionError(f'{beside} is no metadata of tools/export.py: it has '
                              f'more than {MAX_METADATA:,} bytes.')
    try:
        content = json.loads(beside.read_text(encoding='utf-8'))
        digests = content['sha256']['param'], content['sha256']['bin']
        metadata = json.dumps(content[KEY])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise PredictionError(f'{beside} is no metadata of tools/export.py: '
                              f'{first_line(error)}') from error
    for part, digest in zip((path, weights), digests):
        if hashlib.sha256(part.read_bytes()).hexdigest() != digest:
            raise PredictionError(
                f'{part} is damaged, or of another export than {beside}: copy all of '
                'one export.')
    return metadata
