"""Files in fewer bits, and what that costs: bytes, time and the metric."""
import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.utils.errors import ArgumentError, DataError
from mmfastvit.utils.files import size_of
from mmfastvit.utils.progress import track
from mmfastvit.utils.timing import measure
from mmfastvit_runtime import Arrays, ExportedModel, PredictionError, read_picture
from mmfastvit_runtime.sources import PICTURES as PICTURE_SUFFIXES
from mmfastvit_runtime.windows import run as run_windows

from .evaluation import METRICS, ExportedPredictor, metrics
from .formats import Format
from .formats.source import Source
from .options import Quantization

PICTURES = 64  # that tell the range of activations
TRIALS = (0, 4, 8, 16, 32)  # layers that stay in float32, until the metric does


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


def quantize(cfg: Config, source: Source, out: Path, kind: Format,
             quantization: Quantization, picture: np.ndarray) -> Costs:
    """Write a verified file again, in fewer bits, and measure what that costs.

    int8 is static and per channel: of ONNX and OpenVINO for the convolutions and matrix
    products of the network; of others for all that their library has rules for. Where a
    metric falls too far, the layers whose input suffers most stay in float32, if the
    format names layers.

    Args:
        cfg: Whose test data tell the metrics.
        source: What it is made of.
        out: File to write, alone in its folder.
        kind: Its format.
        quantization: How.
        picture: (1, 3, H, W) uint8, BGR, to take the time with.

    Raises:
        ArgumentError: A metric falls farther, or none is known.
        DataError: Data for the metric or the calibration is missing.
    """
    check_data(cfg, 'test')  # it is judged by
    with tempfile.TemporaryDirectory() as folder:
        float32 = source.plain
        if kind.origin:
            float32 = Path(folder) / out.name
            kind.reduce(source, float32, 'float32')
        model = ExportedModel(kind.open(float32))
        pictures = calibration_pictures(cfg, model, quantization.calibration) \
            if quantization.dtype == 'int8' else []
        pictures = _windows(model, pictures)
        if kind.is_mobile:
            pictures = [model.engine.pad(one) for one, in pictures]
        before = _metrics(cfg, float32)
        if not before:
            raise ArgumentError(
                'Fewer bits are judged by the metric of the test data. In float32 it '
                f'has none of {", ".join(METRICS)}: does the model find anything?')
        layers = []
        searches = quantization.dtype == 'int8' and kind.most_sensitive
        for count in TRIALS if searches else (0, ):
            if count and not layers:
                layers = kind.most_sensitive(source, pictures)
            kind.reduce(source, out, quantization.dtype, pictures, layers[:count])
            found = _metrics(cfg, out)  # which lacks those of nothing found
            changes = {name: (before[name], found.get(name, 0.)) for name in before}
            drop = max(old - new for old, new in changes.values())
            if drop <= quantization.max_drop:
                break
        else:
            raise ArgumentError(
                f'{quantization.dtype} loses {drop:.3g} points, where '
                f'{quantization.max_drop} are allowed (--max-drop)' + (
                    f', even with {count} layers in float32' * bool(count) +
                    ': calibrate with pictures that are more like the test data '
                    '(--calibration).' if pictures else '.'))
        reduced = ExportedModel(kind.open(out))
        timings = measure({'before': lambda: model.run(picture),
                           'after': lambda: reduced.run(picture)}, 'before')
        return Costs(quantization.dtype, size_of(out.parent) / size_of(float32.parent),
                     timings['after'].ratio, changes, layers[:count])


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
                       if path.suffix.lower() in PICTURE_SUFFIXES)
    else:
        if source is not None and Path(source).suffix != '.py':
            raise DataError(f'{source} is neither a folder of pictures nor a config.')
        paths = _training_pictures(cfg if source is None else load_config(source))
    if not paths:
        raise DataError(f'{source or "The training data"} holds no pictures to '
                        'calibrate with: name a folder that does (--calibration).')
    paths = paths[::-(-len(paths) // PICTURES)]  # from all over
    try:
        return [model.prepare(read_picture(path))
                for path in track(paths, 'Reading pictures to calibrate with')]
    except PredictionError as error:
        raise DataError(str(error)) from error


def _windows(model: ExportedModel, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Return what the network sees of pictures (1, 3, H, W), windows perhaps."""
    if not model.metadata.get('slide'):
        return pictures
    seen = []

    def watch(windows: np.ndarray) -> Arrays:
        seen.extend(np.split(windows, len(windows)))
        return model.engine.run(windows)

    for picture in pictures:
        run_windows(watch, picture, model.metadata)
        if len(seen) >= PICTURES:
            break
    return seen[:PICTURES]


def _training_pictures(cfg: Config) -> list[str]:
    check_data(cfg, 'train')
    data = cfg.train_dataloader.dataset
    while 'dataset' in data:  # it repeats, or mixes, another
        data = data.dataset
    try:
        dataset = DATASETS.build(dict(copy.deepcopy(data), pipeline=[],
                                      _scope_=cfg.default_scope))
        return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f'The training data, {data.type}, do not tell the files of their pictures: '
            'name a folder of some (--calibration).') from error


def _metrics(cfg: Config, path: Path) -> dict[str, float]:
    return metrics(cfg, ExportedPredictor(path, cfg.default_scope))
