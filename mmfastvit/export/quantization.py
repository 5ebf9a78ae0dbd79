"""Files in fewer bits, and what that costs: bytes, time and the metric."""
import copy
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..benchmark.measure import measure
from ..errors import ArgumentError, DataError
from ..progress import track
from ..runner import check_data, load_config, test
from . import openvino_format
from .formats import Format, Quantization
from .runtime import ExportedModel, PredictionError, read_picture

PICTURES = 64  # that tell the range of activations
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')  # of pictures in a folder
COMPARED = 4  # that tell how sensitive layers are
TRIALS = (0, 4, 8, 16, 32)  # layers that stay in float32, until the metric does
# What is watched, and what a value has to be multiplied with to be in points.
METRICS = {'coco/bbox_mAP_50': 100, 'coco/segm_mAP_50': 100, 'mIoU': 1,
           'accuracy/top1': 1}


@dataclass(frozen=True)
class Costs:
    """A file in fewer bits beside the same in float32.

    Attributes:
        dtype: Its arithmetic.
        size: Its bytes over those in float32.
        speed: How many times as fast it is, on this machine, on one picture.
        metrics: By name, in points, before and after.
        in_float32: Layers left as they were, since a metric fell too far.
    """

    dtype: str
    size: float
    speed: float
    metrics: dict[str, tuple[float, float]]
    in_float32: list[str]

    def __str__(self) -> str:
        lines = [f'  {self.dtype}: {self.size:.2f} of the size, {self.speed:.2f} times '
                 'as fast as float32 on this machine']
        lines += [f'  {name}: {before:.2f} -> {after:.2f}'
                  for name, (before, after) in self.metrics.items()]
        if self.in_float32:
            lines.append('  in float32: ' + ', '.join(self.in_float32))
        return '\n'.join(lines)


def quantize(cfg: Config, plain: Path, out: Path, kind: Format,
             quantization: Quantization) -> Costs:
    """Write a verified file again, in fewer bits, and measure what that costs.

    int8 is static and per channel, for the convolutions and matrix products of the
    network; what decodes, selects and normalises stays in float32. Where a metric
    falls too far, the layers whose input suffers most stay in float32, too.

    Args:
        cfg: Whose test data tell the metrics.
        plain: The ONNX file in float32.
        out: File to write.
        kind: Its format, ``onnx`` or ``openvino``.
        quantization: How.

    Raises:
        ArgumentError: A metric falls farther, or none is known.
        DataError: Data for the metric or the calibration is missing.
    """
    from .fewer_bits import most_sensitive, write_float16, write_int8
    check_data(cfg, 'test')  # it is judged by
    with tempfile.TemporaryDirectory() as folder:
        float32 = Path(folder) / f'float32{out.suffix}'
        _convert(plain, float32, kind)
        model = ExportedModel(kind.open(float32))
        before = _metrics(cfg, float32)
        pictures = calibration_pictures(cfg, model, quantization.calibration)
        between, layers = Path(folder) / 'quantized.onnx', []
        for count in TRIALS:
            if quantization.dtype == 'int8':
                if count and not layers:
                    layers = most_sensitive(plain, between, pictures[:COMPARED])
                write_int8(plain, between, pictures, layers[:count])
                _convert(between, out, kind)
            elif kind.name == 'openvino':
                _convert(plain, out, kind, float16=True)
            else:
                write_float16(plain, out)
            after = _metrics(cfg, out)
            drop = max(before[name] - after[name] for name in before)
            if drop <= quantization.max_drop or quantization.dtype != 'int8':
                break
        if drop > quantization.max_drop:
            raise ArgumentError(
                f'{quantization.dtype} loses {drop:.1f} points, where '
                f'{quantization.max_drop} are allowed, with {count} layers left in '
                'float32: calibrate with pictures that are more like the test data '
                '(--calibration), or allow more (--max-drop).')
        reduced, picture = ExportedModel(kind.open(out)), pictures[0]
        timings = measure({'before': lambda: model.run(picture),
                           'after': lambda: reduced.run(picture)}, 'before')
        return Costs(quantization.dtype, _size(out, kind) / _size(float32, kind),
                     timings['after'].ratio,
                     {name: (before[name], after[name]) for name in before},
                     layers[:count])


def calibration_pictures(cfg: Config, model: ExportedModel, source: str | None = None
                         ) -> list[np.ndarray]:
    """Return up to ``PICTURES`` (1, 3, H, W) uint8, BGR, as ``model`` takes them.

    Args:
        cfg: Of the model.
        model: That resizes them.
        source: A folder of pictures, or a config, whose training pictures they are;
            None takes those of ``cfg``.

    Raises:
        DataError: There are none.
    """
    if source is not None and Path(source).is_dir():
        paths = sorted(path for path in Path(source).rglob('*')
                       if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(f'{source} holds no pictures ({", ".join(SUFFIXES)}) to '
                            'calibrate with.')
    else:
        cfg = cfg if source is None else load_config(source)
        check_data(cfg, 'train')
        data = cfg.train_dataloader.dataset
        while 'dataset' in data:  # it repeats, or mixes, another
            data = data.dataset
        dataset = DATASETS.build(dict(copy.deepcopy(data), pipeline=[],
                                      _scope_=cfg.default_scope))
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    paths = paths[::-(-len(paths) // PICTURES)]  # from all over
    try:
        return [model.prepare(read_picture(path))
                for path in track(paths, 'Reading pictures to calibrate with')]
    except PredictionError as error:
        raise DataError(str(error)) from error


def _convert(plain: Path, out: Path, kind: Format, float16: bool = False) -> None:
    if kind.name == 'openvino':
        openvino_format.convert(plain, out, float16)
    else:
        shutil.copy(plain, out)


def _metrics(cfg: Config, path: Path) -> dict[str, float]:
    """Return what is watched, in points."""
    cfg = copy.deepcopy(cfg)
    cfg.log_level = 'WARNING'
    found = test(cfg, str(path))
    found = {name: float(found[name]) * factor for name, factor in METRICS.items()
             if name in found}
    if not found:
        raise ArgumentError('Files in fewer bits are judged by a metric, and the '
                            f'config tells none of {", ".join(METRICS)}.')
    return found


def _size(path: Path, kind: Format) -> int:
    return sum(path.with_suffix(suffix).stat().st_size for suffix in kind.suffixes)
