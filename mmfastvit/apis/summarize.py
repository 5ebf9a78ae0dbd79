"""What a model costs: parameters, multiply-accumulates, sizes of feature maps.

MMEngine's analyzer traces the model and counts. Only convolutions, linear
layers and matrix products count, attention's two among them: on norms,
activations, pooling and resizing counters disagree.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmfastvit.engine.channels import check_channels
from mmfastvit.engine.config import load_config
from mmfastvit.models.backbone import Backbone
from mmfastvit.models.families import FAMILIES, find_variant
from mmfastvit.models.fastvit import FastViT
from mmfastvit.models.reparam import reparameterize, run_branches
from mmfastvit.utils.progress import track
from mmfastvit.utils.tables import markdown

WHOLE = 'whole model'
_OPERATORS = ('conv', 'linear', 'addmm', 'mm', 'bmm', 'matmul', 'einsum',
              'scaled_dot_product_attention')
_COLUMNS = ('parameters train', 'parameters deploy', 'GMACs train', 'GMACs deploy')


@dataclass(frozen=True)
class Cost:
    """What a model, or a part of it, costs.

    Attributes:
        parameters: How many numbers it learns.
        macs: Multiply-accumulates for one input.
    """

    parameters: int
    macs: int


class Classifier(nn.Module):
    """A variant as its paper counts it, with 1000 classes or its projection.

    Maps an image (B, 3, H, W) to logits (B, 1000), or to an embedding.
    """

    def __init__(self, name: str):
        super().__init__()
        family, arch = find_variant(name)
        stages = len(family.weights_class.variants[arch].depths)
        self.backbone = family(arch, out_indices=range(stages), out_norm_cfg=None)
        self.end = FAMILIES[family](self.backbone)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.backbone(x)[-1])


@torch.no_grad()
def count(model: nn.Module, x: Tensor) -> dict[str, Cost]:
    """Return the costs of the whole model, by ``WHOLE``, and of each child.

    A model in train form is counted with all its branches.

    Args:
        model: Any module, in eval mode.
        x: What it takes, for example an image (1, 3, H, W).
    """
    analyzer = FlopAnalyzer(model, (x,)).set_op_handle(
        'aten::scaled_dot_product_attention', _attention_macs)
    analyzer.tracer_warnings('none').uncalled_modules_warnings(False)
    analyzer.unsupported_ops_warnings(False)
    with run_branches(model):
        found = analyzer.by_module_and_operator()
    parts = {WHOLE: ('', model),
             **{name: (name, child) for name, child in model.named_children()}}
    return {title: Cost(sum(p.numel() for p in part.parameters()),
                        sum(found[name][operator] for operator in _OPERATORS))
            for title, (name, part) in parts.items()}


def _in_channels(model: nn.Module) -> int:
    return next((part.in_channels for part in model.modules()
                 if isinstance(part, Backbone)), 3)


def count_config(cfg: Config, size: tuple[int, int] = (256, 256)
                 ) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Return the costs of a detector, segmentor or classifier and its parts.

    A part that only trains, such as an auxiliary head, has no
    multiply-accumulates. The heads of a two-stage detector run on what its
    untrained first stage proposes: on all but tiny pictures as many regions
    as the config allows.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        size: Height and width of the picture, before the config pads it.

    Returns:
        Costs by name, of the train form and of the deploy form.

    Raises:
        ArgumentError: The model holds no backbone of ours, or its neck takes other
            widths.
    """
    check_channels(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same proposals each time
        model = MODELS.build(cfg.model).eval()
        picture = torch.rand(_in_channels(model), *size) * 255
    sample = BaseDataElement(metainfo=dict(
        img_shape=size, ori_shape=size, scale_factor=(1., 1.)))
    data = model.data_preprocessor(dict(inputs=[picture], data_samples=[sample]))
    forms = model, reparameterize(model)
    for form in forms:
        form.forward = partial(form.forward, data_samples=data['data_samples'],
                               mode='tensor')
    return tuple(count(form, data['inputs']) for form in forms)


def summarize(names: Sequence[str] = (),
              size: tuple[int, int] = (256, 256)) -> str:
    """Return tables in Markdown: one of variants, one of each config.

    Args:
        names: Names of variants and paths of configs; none means FastViT's variants
            (FasterViT's largest alone would fill 10 GB).
        size: Height and width of the input.

    Raises:
        ArgumentError: There is no such variant or config.
    """
    configs = [name for name in names if Path(name).suffix]
    archs = [name for name in names if name not in configs]
    tables = [] if configs and not archs else [
        _variants(archs or list(FastViT.weights_class.variants), size)]
    channels = [] if configs and not archs else [3]
    for name in configs:
        cfg = load_config(name)
        channels.append(cfg.model.get('backbone', {}).get('in_channels', 3))
        train, deploy = count_config(cfg, size)
        tables.append(markdown(
            [Path(name).stem, *_COLUMNS],
            [[part, *_cells(train[part], deploy[part])]
             for part in train if train[part].parameters]))
    padding = ', before padding' if configs else ''
    inputs = ' or '.join(_by((n, *size)) for n in dict.fromkeys(channels))
    return '\n\n'.join([*tables, f'Input {inputs}{padding}. GMACs: 10^9 '
                        'multiply-accumulates of convolutions, linear layers '
                        'and matrix products.'])


def _variants(archs: Sequence[str], size: tuple[int, int]) -> str:
    rows, stages = [], 0
    for arch in track(archs, 'Counting'):
        model = Classifier(arch).eval()
        x = torch.zeros(1, 3, *size)
        train, deploy = count(model, x), count(reparameterize(model), x)
        with torch.no_grad():
            shapes = [feature.shape[1:] for feature in model.backbone(x)]
        rows.append([arch, *_cells(train[WHOLE], deploy[WHOLE]),
                     *(f'{_by(shape)} ({prod(shape) / 1e6:.3f} M)'
                       for shape in shapes)])
        stages = max(stages, len(shapes))
    header = ['network', *_COLUMNS,
              *(f'stage {i + 1} (values)' for i in range(stages))]
    return markdown(header, [row + [''] * (len(header) - len(row)) for row in rows])


def _cells(train: Cost, deploy: Cost) -> list[str]:
    return [f'{train.parameters / 1e6:.3f} M', f'{deploy.parameters / 1e6:.3f} M',
            f'{train.macs / 1e9:.3f}', f'{deploy.macs / 1e9:.3f}']


def _by(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Count softmax(q k^T) v; q is (..., N, D), k (..., M, D), v (..., M, E)."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
