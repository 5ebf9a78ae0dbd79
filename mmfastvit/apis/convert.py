"""Any checkpoint of a backbone of ours as one file under our names."""
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict, describe_misfit, shorten
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.checkpoints.save import save
from mmfastvit.models.backbone import Backbone
from mmfastvit.models.families import FAMILIES, all_variants, locate_file
from mmfastvit.models.fastvit import FastViT, FastViTNeck
from mmfastvit.utils.errors import ArgumentError, CheckpointError
from mmfastvit.utils.files import check_targets, whole_file


@dataclass(frozen=True)
class ConversionReport:
    """What ``convert_checkpoint`` found and wrote; ``str()`` to print."""

    source: str
    out: str
    format: str
    owner: str
    fused: bool
    network: str
    arch: str
    head: str
    written: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        form = 'deploy form' if self.fused else 'train form'
        text = (f'{self.source}: {self.network}-{self.arch.upper()}, {form}, under '
                f'{self.owner} names.\n{self.out}: {self.head}, '
                f'{self.written} tensors, complete.')
        if self.left_out:
            text += f'\nLeft out {len(self.left_out)}: {shorten(self.left_out)}'
        return text


def convert_checkpoint(source: str, out: str,
                       classifier: bool = False) -> ConversionReport:
    """Write a checkpoint of Apple's, NVIDIA's, timm's or ours under our names.

    All of the network, or nothing: what does not fill the variant that the
    shapes tell is refused.

    Args:
        source: A path, an http(s) URL, or the name of published weights.
        out: File to write, ``.safetensors`` or ``.pth``.
        classifier: Write a whole MMPretrain classifier, ``backbone.*``, ``neck.*``
            and ``head.fc.*``, or an image encoder with its projection, ``backbone.*``
            and ``neck.*``, instead of the backbone's tensors.

    Raises:
        ArgumentError: ``out`` has another suffix, or is the source.
        CheckpointError: The source cannot be read, or is not complete.
    """
    suffix = Path(out).suffix
    if suffix not in ('.safetensors', '.pth'):
        raise ArgumentError(f'{out}: give a name that ends in .safetensors or .pth.')
    source = locate_file(str(source))
    check_targets([out], [source])
    family, arch, converted = _recognize(read_state_dict(source, _belonging), source)
    weights = converted.backbone
    head = 'backbone'
    left_out = [*converted.ignored, *(() if classifier else converted.classifier)]
    if classifier:
        held = converted.classifier
        if 'head.fc.weight' in held:
            head = f'classifier of {len(held["head.fc.weight"])} classes'
        elif 'neck.proj.weight' in held:
            head = f'image encoder of {len(held["neck.proj.weight"])} dimensions'
        else:
            raise CheckpointError(f'{source} holds no classifier; convert its '
                                  'backbone alone.')
        weights = {**{f'backbone.{k}': v for k, v in weights.items()}, **held}
    expected = _expected(family, arch, converted.fused, weights)
    for name in expected:
        if name.endswith('.num_batches_tracked'):  # absent before torch 0.4
            weights.setdefault(name, torch.tensor(0))
    problems = describe_misfit(expected, weights)
    if problems:
        raise CheckpointError(
            f'{source} is no complete {family.__name__}-{arch.upper()}: {problems}. '
            'Fetch or save it again.')
    with whole_file(out, sources=[source]) as unfinished:
        if suffix == '.safetensors':
            from safetensors.torch import save_file
            save_file({k: v.contiguous() for k, v in weights.items()},
                      unfinished, metadata=dict(format='pt', arch=arch))
        else:
            save(dict(state_dict=weights, meta=dict(arch=arch)), unfinished)
    return ConversionReport(str(source), str(out), converted.format, converted.owner,
                            converted.fused, family.__name__, arch, head, len(weights),
                            tuple(left_out))


def _belonging(names: Iterable[str]) -> list[str]:
    names = list(names)
    return list(dict.fromkeys(name for family in FAMILIES for name in
                              family.weights_class.names.belonging(names)))


def _recognize(state_dict: StateDict, source: str
               ) -> tuple[type[Backbone], str, Converted]:
    """Return the family and variant of a file, and its tensors under our names.

    Our own names of two families may begin alike: the shapes tell.

    Raises:
        CheckpointError: It holds none, or several.
    """
    errors, others = [], []
    for family in FAMILIES:
        try:
            converted = family.weights_class.sort(state_dict)
        except CheckpointError as error:
            errors.append(str(error))
            continue
        arch = family.weights_class.name_variant(converted.backbone)
        if arch in family.weights_class.variants:
            return family, arch, converted
        others.append(f'{family.__name__}: {arch}')
    if others:
        raise CheckpointError(
            f'{source} holds {"; or of ".join(others)}; known are the variants '
            f'{", ".join(all_variants())}.')
    raise CheckpointError(f'{source}: {" And ".join(errors)}')


def _expected(family: type[Backbone], arch: str, fused: bool, weights: dict) -> dict:
    """Return the tensors, without values, that a network of this kind has."""
    whole = any(name.startswith(('neck.', 'head.')) for name in weights)
    prefix = 'backbone.' if whole else ''
    first = f'{prefix}stem.0.{"fused" if fused else "convs.0.conv"}.weight'
    stages = range(len(family.weights_class.variants[arch].depths))
    # A detector's backbone may return three maps, RetinaNet's for example.
    out_norms, held = ([i for i in stages if any(
        name.startswith(f'{prefix}{part}.{i}.') for name in weights)]
        for part in ('out_norms', 'stages'))
    with torch.device('meta'):
        model = family(arch, in_channels=weights[first].shape[1], deploy=fused,
                        out_indices=out_norms or held[-1:],
                        out_norm_cfg=dict(type='BN') if out_norms else None)
        if whole:
            channels = model.out_channels[-1]
            dims = {name: len(weights[name]) for name in
                    ('neck.proj.weight', 'head.fc.weight') if name in weights}
            model = nn.ModuleDict(dict(backbone=model))
            if family is FastViT:
                model['neck'] = FastViTNeck(
                    channels, deploy=fused, embedding_dims=dims.get('neck.proj.weight'))
                channels = model['neck'].out_channels
            if 'head.fc.weight' in dims:
                model['head'] = nn.ModuleDict(dict(
                    fc=nn.Linear(channels, dims['head.fc.weight'])))
    return model.state_dict()
