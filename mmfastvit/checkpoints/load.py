"""Filling a backbone from a checkpoint, all of it or not at all."""
import logging
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import nn

from mmfastvit.utils.errors import CheckpointError
from mmfastvit.utils.files import sha256_of

from .family import Weights
from .fit import check_numbers, describe_misfit, shorten
from .read import local_file, read_state_dict, split_source
from .shards import shard_hint

_OTHER_WAYS = (
    'Other ways: name a local file, in a config init_cfg=dict(type=\'Pretrained\', '
    'checkpoint=\'/path/to/file\'), on the command line --cfg-options '
    'model.backbone.init_cfg.checkpoint=/path/to/file; or start from scratch, '
    '--cfg-options model.backbone.init_cfg=None.')


@dataclass(frozen=True)
class LoadReport:
    """What ``load_pretrained`` did; ``str()`` gives a line to log."""

    source: str
    sha256: str
    format: str
    owner: str
    fused: bool
    loaded: int
    left_out: tuple[str, ...]
    fresh: tuple[str, ...]
    adapted: tuple[str, ...] = ()

    def __str__(self) -> str:
        form = 're-parameterized ' if self.fused else ''
        text = (f'{self.source}: {form}weights under {self.owner} names; '
                f'{self.loaded} tensors loaded; SHA-256 {self.sha256}')
        for what, keys in (('left out', self.left_out),
                           ('not in the file, freshly initialised',
                            self.fresh),
                           ('adapted to the channels of the images', self.adapted)):
            if keys:
                text += f'; {len(keys)} {what}: {shorten(keys)}'
        return text + '.'


def load_pretrained(model: nn.Module, source: str,
                    prefix: str | None = None, allow_non_finite: bool = False,
                    adapt_input: bool = False) -> LoadReport:
    """Fill a backbone from a checkpoint, all of it or not at all.

    Args:
        model: A backbone of ours, such as :class:`FastViT`. A train form takes
            unfused weights; a deploy form takes both.
        source: A path or http(s) URL; ``.pth``, ``.pth.tar``, ``.bin`` or
            ``.safetensors``. Or the name of published weights, ``'apple://in1k'``
            for example. ``'file.pth#model_ema'`` chooses among several state dicts,
            ``'file.pth#sha256=…'`` refuses any other file.
        prefix: What stands before the backbone's names; None finds out.
        allow_non_finite: Take NaN, infinity and negative variances, too.
        adapt_input: Adapt a stem for images of other channels, as timm does.

    Returns:
        The report, which is also logged. Only the classifier, the other parts
        of a detector, and what belongs to stages that the model does not
        build or return may be left out; only output norms, which ImageNet
        checkpoints lack, may stay fresh.

    Raises:
        CheckpointError: The file cannot be read or does not fit; the model
            then is unchanged.
    """
    family: Weights = model.weights
    try:
        notice = family.notice(str(source))
        source = family.locate(str(source))
        state_dict = read_state_dict(source, family.select)
    except CheckpointError as error:
        raise CheckpointError(f'{error} {_OTHER_WAYS}') from error
    try:
        converted = family.convert(state_dict, prefix)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}{shard_hint(source)}') from error
    try:
        target = family.target(converted)
    except CheckpointError as error:
        raise CheckpointError(f'{source} {error}') from error
    expected = target.state_dict()
    unused = [name for name in converted.backbone
              if name not in expected and family.is_unused(name)]
    weights = {k: v for k, v in converted.backbone.items() if k not in unused}
    adapted = family.adapt_input(weights) if adapt_input else {}
    weights |= adapted
    fresh = [name for name in expected if name not in weights
             and (family.may_stay_fresh(name)
                  or name.endswith('.num_batches_tracked'))]
    required = {k: v for k, v in expected.items() if k not in fresh}
    problems = describe_misfit(required, weights)
    if problems:
        raise CheckpointError(
            f'{source} does not fit the network, which stays as it was. {problems}. '
            f'Likely cause: {family.explain_misfit(weights, required)}.'
            f'{shard_hint(source)}')
    if not allow_non_finite:
        check_numbers(source, weights)
    target.load_state_dict(weights, strict=False)
    if target is not model:
        target.switch_to_deploy()
        model.load_state_dict(target.state_dict())
    place, key, _ = split_source(source)
    report = LoadReport(
        f'{place}#{key}' if key else place, sha256_of(local_file(place)),
        converted.format, converted.owner, converted.fused, len(weights),
        (*unused, *converted.classifier, *converted.ignored), tuple(fresh),
        tuple(adapted))
    print_log(str(report), logger='current')
    if notice:
        print_log(notice, 'current', logging.WARNING)
    return report
