"""Filling a FastViT from a checkpoint, all of it or not at all."""
import re
from dataclasses import dataclass, replace

import torch
from mmengine.logging import print_log
from torch import nn

from .checkpoint_file import read_state_dict
from .conversion import FORMATS, StateDict, convert, shorten
from .errors import CheckpointError
from .variants import VARIANTS, Variant

# Apple's ImageNet-1k weights in train form; the names are for configs.
PUBLISHED = {
    f'apple://{name}': 'https://docs-assets.developer.apple.com/ml-research/'
    f'models/fastvit/{folder}/fastvit_{{arch}}.pth.tar'
    for name, folder in (
        ('in1k', 'image_classification_models'),
        ('in1k_distilled', 'image_classification_distilled_models'))}
_OTHER_WAYS = (
    'Other ways: name a local file, in a config init_cfg=dict(type=\'Pretrained\', '
    'checkpoint=\'/path/to/file\'), on the command line --cfg-options '
    'model.backbone.init_cfg.checkpoint=/path/to/file; or start from scratch, '
    '--cfg-options model.backbone.init_cfg=None.')


@dataclass(frozen=True)
class LoadReport:
    """What ``load_pretrained`` did; ``str()`` gives a line to log."""

    source: str
    format: str
    fused: bool
    loaded: int
    left_out: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        form = 're-parameterized ' if self.fused else ''
        text = (f'{self.source}: {form}weights under {FORMATS[self.format]} '
                f'names; {self.loaded} tensors loaded')
        for what, keys in (('left out', self.left_out),
                           ('not in the file, freshly initialised',
                            self.fresh)):
            if keys:
                text += f'; {len(keys)} {what}: {shorten(keys)}'
        return text + '.'


def load_pretrained(model: nn.Module, source: str,
                    prefix: str | None = None) -> LoadReport:
    """Fill a backbone from a checkpoint, all of it or not at all.

    Args:
        model: A :class:`FastViT`. A train form takes unfused weights; a
            deploy form takes both.
        source: A path or http(s) URL; ``.pth``, ``.pth.tar``, ``.bin`` or
            ``.safetensors``. Or a name in ``PUBLISHED``, ``'apple://in1k'`` for
            example, for what Apple publishes for this variant.
        prefix: What stands before the backbone's names; None finds out.

    Returns:
        The report, which is also logged. Only the classifier, the other parts
        of a detector, and what belongs to stages that the model does not
        build or return may be left out; only output norms, which ImageNet
        checkpoints lack, may stay fresh.

    Raises:
        CheckpointError: The file cannot be read or does not fit; the model
            then is unchanged.
    """
    source = _address(source, model.variant)
    try:
        state_dict = read_state_dict(source)
    except CheckpointError as error:
        raise CheckpointError(f'{error} {_OTHER_WAYS}') from error
    converted = convert(state_dict, prefix)
    weights = converted.backbone
    target = model
    if converted.fused and not model.deploy:
        raise CheckpointError(
            f'{source} is re-parameterized, but the network is in train form: '
            'batch norms and branches cannot be recovered. Give the unfused '
            'file (fastvit_sa12.pth.tar, not fastvit_sa12_reparam.pth.tar), '
            'or build the network with deploy=True for inference.')
    if model.deploy and not converted.fused:
        target = model.train_form()
    expected = target.state_dict()
    built = tuple(f'stages.{i}.' for i in range(len(target.stages)))
    unused = [name for name in weights if name not in expected and (
        name.startswith('out_norms.')
        or name.startswith('stages.') and not name.startswith(built))]
    weights = {k: v for k, v in weights.items() if k not in unused}
    fresh = [name for name in expected if name not in weights
             and (name.startswith('out_norms.')
                  or name.endswith('.num_batches_tracked'))]
    _check_fit(source, {k: v for k, v in expected.items() if k not in fresh},
               weights)
    target.load_state_dict(weights, strict=False)
    if target is not model:
        target.switch_to_deploy()
        model.load_state_dict(target.state_dict())
    report = LoadReport(str(source), converted.format, converted.fused,
                        len(weights),
                        (*unused, *converted.classifier, *converted.ignored),
                        tuple(fresh))
    print_log(str(report), logger='current')
    return report


def _address(source: str, variant: Variant) -> str:
    """Return the URL of published weights; any other source as it is."""
    if not str(source).startswith('apple://'):
        return source
    # Weights do not depend on the start value of their layer scales.
    names = [name for name, known in VARIANTS.items() if variant == replace(
        known, layer_scale_init_value=variant.layer_scale_init_value)]
    if source not in PUBLISHED or not names:
        what = source if names else f'{source} for {variant}'
        raise CheckpointError(
            f'Apple does not publish {what}; published are '
            f'{", ".join(PUBLISHED)}, each for {", ".join(VARIANTS)}. '
            f'{_OTHER_WAYS}')
    return PUBLISHED[source].format(arch=names[0])


def describe_misfit(expected: StateDict, weights: StateDict) -> str:
    """Say how ``weights`` would not fill ``expected`` exactly; '' if they do."""
    kinds = {
        'missing': [k for k in expected if k not in weights],
        'unexpected': [k for k in weights if k not in expected],
        'of another shape': [
            f'{k} {tuple(v.shape)} for {tuple(expected[k].shape)}'
            for k, v in weights.items()
            if k in expected and v.shape != expected[k].shape],
        'no plain numbers': [
            k for k, v in weights.items()
            if v.is_meta or v.layout != torch.strided or v.is_quantized
            or k in expected
            and v.is_floating_point() != expected[k].is_floating_point()],
    }
    return '; '.join(f'{len(keys)} {kind}: {shorten(keys)}'
                     for kind, keys in kinds.items() if keys)


def _check_fit(source: str, expected: StateDict, weights: StateDict) -> None:
    """Raise, with the likely cause, if ``weights`` do not fill ``expected``."""
    problems = describe_misfit(expected, weights)
    if not problems:
        return
    stem_in = [sd[k].shape[1] for sd in (weights, expected) for k in (
        'stem.0.convs.0.conv.weight', 'stem.0.fused.weight') if k in sd]
    if name_variant(weights) != name_variant(expected):
        cause = (f'the file holds {name_variant(weights)}, the network is '
                 f'{name_variant(expected)}: change arch, or the file')
    elif len(set(stem_in)) > 1:
        cause = (f'the file is for images of {stem_in[0]} channels, the '
                 f'network for {stem_in[1]}: change in_channels')
    else:
        cause = 'the file is incomplete, or its network was modified'
    raise CheckpointError(f'{source} does not fit the network, which stays as it '
                          f'was. {problems}. Likely cause: {cause}.')


def name_variant(weights: StateDict) -> str:
    """Name the variant whose depths and widths a state dict has."""
    depths, widths, ratio = {}, {}, 0
    for name, value in weights.items():
        match = re.match(r'stages\.(\d)\.blocks\.(\d+)\.ffn\.fc1\.weight',
                         name)
        if match and value.ndim == 4:
            stage, block = map(int, match.groups())
            depths[stage] = max(depths.get(stage, 0), block + 1)
            widths[stage] = value.shape[1]
            ratio = value.shape[0] / value.shape[1]
    shape = (tuple(depths.values()), tuple(widths.values()), ratio)
    attends = any('.qkv.' in name for name in weights)
    for name, variant in VARIANTS.items():
        if shape == (variant.depths, variant.embed_dims, variant.mlp_ratio) \
                and attends == ('attention' in variant.token_mixers):
            return name
    return (f'a network of depths {shape[0]}, widths {shape[1]} and MLP '
            f'ratio {ratio:g}')
