"""Any FastViT checkpoint as one file under our names."""
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mmfastvit.checkpoints.fit import describe_misfit, shorten
from mmfastvit.checkpoints.read import read_state_dict
from mmfastvit.checkpoints.save import save
from mmfastvit.models.fastvit import VARIANTS, FastViT, FastViTNeck
from mmfastvit.models.fastvit.key_names import convert
from mmfastvit.models.fastvit.weights import name_variant
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
    arch: str
    num_classes: int | None
    written: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        form = 'deploy form' if self.fused else 'train form'
        head = (f'classifier of {self.num_classes} classes' if self.num_classes
                else 'backbone')
        text = (f'{self.source}: FastViT-{self.arch.upper()}, {form}, under '
                f'{self.owner} names.\n{self.out}: {head}, '
                f'{self.written} tensors, complete.')
        if self.left_out:
            text += f'\nLeft out {len(self.left_out)}: {shorten(self.left_out)}'
        return text


def convert_checkpoint(source: str, out: str,
                       classifier: bool = False) -> ConversionReport:
    """Write a checkpoint of Apple's, timm's or ours under our names.

    All of the network, or nothing: what does not fill the variant that the
    shapes tell is refused.

    Args:
        source: A path or an http(s) URL.
        out: File to write, ``.safetensors`` or ``.pth``.
        classifier: Write a whole MMPretrain classifier, ``backbone.*``,
            ``neck.*`` and ``head.fc.*``, instead of the backbone's tensors.

    Raises:
        ArgumentError: ``out`` has another suffix, or is the source.
        CheckpointError: The source cannot be read, or is not complete.
    """
    suffix = Path(out).suffix
    if suffix not in ('.safetensors', '.pth'):
        raise ArgumentError(f'{out}: give a name that ends in .safetensors or .pth.')
    check_targets([out], [source])
    converted = convert(read_state_dict(source))
    weights = converted.backbone
    arch = name_variant(weights)
    if arch not in VARIANTS:
        raise CheckpointError(f'{source} holds {arch}; known are the variants '
                              f'{", ".join(VARIANTS)}.')
    num_classes = None
    left_out = [*converted.ignored, *(() if classifier else converted.classifier)]
    if classifier:
        if 'head.fc.weight' not in converted.classifier:
            raise CheckpointError(f'{source} holds no classifier; convert its '
                                  'backbone alone.')
        num_classes = len(converted.classifier['head.fc.weight'])
        weights = {**{f'backbone.{k}': v for k, v in weights.items()},
                   **converted.classifier}
    expected = _expected(arch, converted.fused, weights, num_classes)
    for name in expected:
        if name.endswith('.num_batches_tracked'):  # absent before torch 0.4
            weights.setdefault(name, torch.tensor(0))
    problems = describe_misfit(expected, weights)
    if problems:
        raise CheckpointError(f'{source} is no complete FastViT-{arch.upper()}: '
                              f'{problems}. Fetch or save it again.')
    with whole_file(out, sources=[source]) as unfinished:
        if suffix == '.safetensors':
            from safetensors.torch import save_file
            save_file({k: v.contiguous() for k, v in weights.items()},
                      unfinished, metadata=dict(format='pt', arch=arch))
        else:
            save(dict(state_dict=weights, meta=dict(arch=arch)), unfinished)
    return ConversionReport(str(source), str(out), converted.format, converted.owner,
                            converted.fused, arch, num_classes, len(weights),
                            tuple(left_out))


def _expected(arch: str, fused: bool, weights: dict, num_classes: int | None) -> dict:
    """Return the tensors, without values, that a network of this kind has."""
    prefix = '' if num_classes is None else 'backbone.'
    first = f'{prefix}stem.0.{"fused" if fused else "convs.0.conv"}.weight'
    # A detector's backbone may return three maps, RetinaNet's for example.
    out_norms = [i for i in range(len(VARIANTS[arch].depths))
                 if any(name.startswith(f'{prefix}out_norms.{i}.') for name in weights)]
    with torch.device('meta'):
        model = FastViT(arch, in_channels=weights[first].shape[1], deploy=fused,
                        out_indices=out_norms or None,
                        out_norm_cfg=dict(type='BN') if out_norms else None)
        if num_classes is not None:
            channels = model.out_channels[-1]
            model = nn.ModuleDict(dict(
                backbone=model, neck=FastViTNeck(channels, deploy=fused),
                head=nn.ModuleDict(dict(fc=nn.Linear(2 * channels, num_classes)))))
    return model.state_dict()
