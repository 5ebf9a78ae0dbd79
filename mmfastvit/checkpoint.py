"""Filling a FastViT from a checkpoint, all of it or not at all."""
import re
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import nn

from .checkpoint_file import CheckpointError, read_state_dict
from .conversion import FORMATS, StateDict, convert, shorten
from .variants import VARIANTS


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
            ``.safetensors``.
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
    converted = convert(read_state_dict(source), prefix)
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
    _check_fit(source, expected, weights, fresh)
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


def _check_fit(source: str, expected: StateDict, weights: StateDict,
               fresh: list[str]) -> None:
    """Raise if ``weights`` would not fill ``expected`` exactly."""
    missing = [k for k in expected if k not in weights and k not in fresh]
    unexpected = [k for k in weights if k not in expected]
    misshapen = [f'{k} {tuple(v.shape)} for {tuple(expected[k].shape)}'
                 for k, v in weights.items()
                 if k in expected and v.shape != expected[k].shape]
    if not (missing or unexpected or misshapen):
        return
    counts = [f'{len(keys)} {what}: {shorten(keys)}' for what, keys in (
        ('missing', missing), ('unexpected', unexpected),
        ('of another shape', misshapen)) if keys]
    stem_in = [sd[k].shape[1] for sd in (weights, expected) for k in (
        'stem.0.convs.0.conv.weight', 'stem.0.fused.weight') if k in sd]
    if _describe(weights) != _describe(expected):
        cause = (f'the file holds {_describe(weights)}, the network is '
                 f'{_describe(expected)}: change arch, or the file')
    elif len(set(stem_in)) > 1:
        cause = (f'the file is for images of {stem_in[0]} channels, the '
                 f'network for {stem_in[1]}: change in_channels')
    else:
        cause = 'the file is incomplete, or its network was modified'
    raise CheckpointError(f'{source} does not fit the network, which stays '
                          f'as it was. {"; ".join(counts)}. Likely cause: '
                          f'{cause}.')


def _describe(weights: StateDict) -> str:
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
