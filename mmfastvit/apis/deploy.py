"""A checkpoint's deploy form, verified before it is written."""
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmfastvit.checkpoints.save import save
from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.checkpoints.work_dir import latest_checkpoint
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.backbone import find_backbone
from mmfastvit.models.reparam import reparameterize, run_branches
from mmfastvit.utils.errors import ArgumentError, CheckpointError
from mmfastvit.utils.files import check_targets, whole_file
from mmfastvit.utils.progress import track
from mmfastvit.utils.timing import measure

from .deploy_config import deploy_config

# Folding reorders float32 sums. Its error grows with depth; every variant
# stays below this by a factor of ten or more (tests/models/test_backbone.py), while
# a wrong fold is off by percents.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Comparison:
    """Train form against deploy form, on the same pictures.

    Attributes:
        pictures: How many were compared.
        features: Largest difference of a map that the heads get, over its
            largest value, to a train form that runs all its branches.
        predictions: Largest difference of each predicted quantity; for
            quantities that are not real numbers, how many differ; infinity if
            one form predicts more than the other. For the reader: a threshold
            may tip either way, so only the feature maps decide.
        backbone_speedup: Median time of the backbone, train over deploy form,
            both in eval mode.
        model_speedup: The same of the whole model, post-processing included.
    """

    pictures: int
    features: float
    predictions: dict[str, float]
    backbone_speedup: float
    model_speedup: float

    def __str__(self) -> str:
        lines = [f'Train form and deploy form on {self.pictures} pictures:',
                 f'  feature maps   differ by {self.features:.1e} of their '
                 'largest value at most']
        lines += [f'  {name:<13}  differ by {value:.1e} at most'
                  for name, value in self.predictions.items()]
        lines += [f'  speed          backbone {self.backbone_speedup:.2f}x, '
                  f'whole model {self.model_speedup:.2f}x the train form\'s']
        return '\n'.join(lines)


def reparameterize_checkpoint(cfg: Config, checkpoint: str, out: str,
                              num_pictures: int = 4) -> Comparison:
    """Write the deploy form of a detector, segmentor or classifier.

    Beside ``out`` a config of the same name and ``.py`` is written, which builds
    the deploy form: every tool and toolbox takes the two as they are.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        checkpoint: Checkpoint of the whole model in train form.
        out: File to write, ``.pth``. Both appear only if the forms agree, and if
            the one, built, takes the other.
        num_pictures: Pictures of the test set to compare them on.

    Raises:
        ArgumentError: ``out`` does not end in ``.pth``, one of the two would
            replace a file that is needed, or no config builds the deploy form of
            this model.
        CheckpointError: The checkpoint does not fit, or the forms differ.
        DataError: The test data is missing.
    """
    if Path(out).suffix != '.pth':
        raise ArgumentError(f'{out}: give a name that ends in .pth, for example '
                            'deploy.pth; its config will be deploy.py.')
    config = Path(out).with_suffix('.py')
    sources = [latest_checkpoint(checkpoint), cfg.filename]
    check_targets([out, config], sources)
    if config.exists() and not Path(out).exists():
        raise ArgumentError(
            f'{config} is there, without a checkpoint of its name, so that it is no '
            f'deploy config of an earlier {out}, which would replace it: name another '
            'file.')
    check_data(cfg, 'test')
    deploy_cfg = deploy_config(cfg)
    runner = build_runner(cfg, keep_log=False)
    model = runner.model.eval()
    load_weights(model, checkpoint)
    deployed = reparameterize(model)
    dataset = runner.test_dataloader.dataset
    batches = [runner.test_dataloader.collate_fn([dataset[i]])
               for i in range(min(num_pictures, len(dataset)))]
    comparison = compare(model, deployed, batches)
    if not comparison.features <= TOLERANCE:
        raise CheckpointError(
            f'{out} was not written. {comparison}\nMore than {TOLERANCE:.0e} '
            'is no rounding: do the weights hold NaN, or batch norms with '
            'variances near zero?')
    with whole_file(out, sources=sources) as unfinished:
        # The inferencers of all toolboxes build a model from these two alone.
        meta = dict(cfg=deploy_cfg.pretty_text, dataset_meta=dataset.metainfo)
        save(dict(state_dict=deployed.state_dict(), meta=meta), unfinished)
        deploy_cfg.dump(unfinished.with_suffix('.py'))
        _check_pair(unfinished, deployed, batches[0], out)
    return comparison


@torch.no_grad()
def _check_pair(checkpoint: Path, deployed: nn.Module, batch: Any, out: str) -> None:
    """Build what was written, load it, and compare what it computes.

    Raises:
        ArgumentError: Config and checkpoint do not go together.
    """
    problem = 'its backbone computes something else'
    try:
        cfg = load_config(checkpoint.with_suffix('.py'))
        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
            twin = revert_sync_batchnorm(registry.build(cfg.model)).eval()
        load_weights(twin, checkpoint)
        inputs = deployed.data_preprocessor(batch)['inputs']
        if all(torch.allclose(a, b, rtol=0, atol=TOLERANCE * b.abs().max().item())
               for a, b in zip(twin.to(inputs.device).extract_feat(inputs),
                               deployed.extract_feat(inputs))):
            return
    except Exception as error:  # whatever a model of somebody else's raises
        problem = f'{type(error).__name__}: {error}'
    raise ArgumentError(
        f'{out} was not written: the config that would go with it does not build its '
        f'model ({problem}). Name FastViT and FastViTNeck in the config itself, with '
        "their arguments, and not inside of code: there, deploy=True is what builds "
        'the deploy form.')


@torch.no_grad()
def compare(model: nn.Module, deployed: nn.Module,
            batches: list[Any]) -> Comparison:
    """Compare two forms of an OpenMMLab model on collated batches."""
    features, predictions = torch.tensor(0.), {}
    for batch in track(batches, 'Comparing'):
        inputs = model.data_preprocessor(batch)['inputs']
        # MMPretrain writes predictions into the samples that it is given.
        own = copy.deepcopy(batch)
        with run_branches(model):
            expected = model.extract_feat(inputs), model.test_step(own)
        actual = deployed.extract_feat(inputs), deployed.test_step(batch)
        for a, b in zip(expected[0], actual[0]):
            # A NaN in either form stays a NaN through all maxima.
            scale = a.abs().max().clamp_min(torch.finfo(a.dtype).tiny)
            features = torch.stack([features, (a - b).abs().max() / scale]).max()
        for one, other in zip(expected[1], actual[1]):
            found = dict(_predicted(one)), dict(_predicted(other))
            for name, value in found[0].items():
                predictions[name] = max(predictions.get(name, 0),
                                        _difference(value, found[1][name]))
    inputs = model.data_preprocessor(batches[0])['inputs']
    return Comparison(
        len(batches), features.item(), predictions,
        _speedup(find_backbone(model), find_backbone(deployed), inputs),
        _speedup(model.test_step, deployed.test_step, batches[0]))


def _predicted(sample: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the predicted tensors of an OpenMMLab data sample."""
    for name, element in sample.all_items():
        if name.startswith('pred'):
            inside = (element.all_items() if hasattr(element, 'all_items')
                      else [(name, element)])
            yield from ((key, value) for key, value in inside
                        if isinstance(value, Tensor))


def _difference(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float('inf')
    if one.numel() == 0:
        return 0.
    if one.is_floating_point():
        return (one - other).abs().max().item()
    return (one != other).sum().item()


def _speedup(slow: Any, fast: Any, x: Any) -> float:
    """Return the ratio of times, the two taking turns."""
    return measure(dict(slow=lambda: slow(x), fast=lambda: fast(x)), 'slow',
                   rounds=5, seconds=0.1)['fast'].ratio
