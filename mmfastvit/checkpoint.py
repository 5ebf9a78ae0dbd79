"""Key names of Apple's, timm's and our checkpoints, and loading any of them.

The only place that knows key names. ``convert_state_dict`` renames; a
re-parameterized file of Apple's or timm's, which still holds the norms of
ConvFFN and attention and the layer scales, is folded to the end on the way.
"""
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Dict, List, Optional, Tuple

from mmengine.logging import print_log
from torch import Tensor, nn

from .checkpoint_file import CheckpointError, read_state_dict
from .fusion import fold_norm_after, fold_norm_before, fold_scale
from .variants import VARIANTS

StateDict = Dict[str, Tensor]

# The first tensor of the stem tells the format, what stands before it, and
# whether the file is re-parameterized.
_FIRST_KEY = re.compile(
    r'^(?P<prefix>.*?)(?:'
    r'(?P<apple>patch_embed\.0\.(?:rbr_conv\.0\.conv|reparam_conv))|'
    r'(?P<timm>stem\.0\.(?:conv_kxk\.0\.conv|reparam_conv))|'
    r'(?P<mmfastvit>stem\.0\.(?:convs\.0\.conv|fused)))\.weight$')
_FORMATS = {'apple': "Apple's", 'timm': "timm's", 'mmfastvit': 'our own'}

# Applied in this order; on the left Apple's name | timm's name.
_RENAMES = [(re.compile(pattern), name) for pattern, name in (
    # Where a layer is.
    (r'^(patch_embed|stem)\.2\.', 'stem.4.'),
    (r'^(patch_embed|stem)\.1\.', 'stem.2.'),
    (r'^(patch_embed|stem)\.0\.', 'stem.0.'),
    (r'^network\.0\.', 'stages.0.blocks.'),
    (r'^network\.1\.proj\.', 'stages.1.downsample.'),
    (r'^network\.2\.', 'stages.1.blocks.'),
    (r'^network\.3\.proj\.', 'stages.2.downsample.'),
    (r'^network\.4\.', 'stages.2.blocks.'),
    (r'^network\.5\.proj\.', 'stages.3.downsample.'),
    (r'^network\.6\.(?=pe\.|reparam_conv\.)', 'stages.3.position_encoding.'),
    (r'^network\.[67]\.', 'stages.3.blocks.'),
    (r'\.downsample\.proj\.', '.downsample.'),
    (r'\.pos_emb\.', '.position_encoding.'),
    (r'^(conv_exp|final_conv)\.', 'neck.conv.'),
    (r'^neck\.conv\.se\.', 'neck.se.'),
    (r'^head\.(?:fc\.)?', 'head.fc.'),
    # What a block holds: norm and layer scale join the layer they fold into.
    (r'\.(convffn|mlp)\.', '.ffn.'),
    (r'\.ffn\.conv\.(conv|bn)\.', r'.ffn.conv.convs.0.\1.'),
    (r'\.ffn\.fc2\.', '.ffn.fc2.op.'),
    (r'\.layer_scale(_\d)?\.gamma$', r'.layer_scale\1'),
    (r'(\.blocks\.\d+)\.layer_scale(_2)?$', r'\1.ffn.fc2.layer_scale'),
    (r'(\.blocks\.\d+)\.layer_scale_1$', r'\1.token_mixer.proj.layer_scale'),
    (r'(\.blocks\.\d+)\.norm\.', r'\1.token_mixer.qkv.norm.'),
    (r'\.token_mixer\.qkv\.(?=weight)', '.token_mixer.qkv.linear.'),
    (r'\.token_mixer\.proj\.(?=weight|bias)', '.token_mixer.proj.op.'),
    (r'\.token_mixer\.norm\.(rbr_skip|identity)\.', '.token_mixer.norm.'),
    # The branches of a layer.
    (r'\.(pe|pos_enc)\.', '.conv.'),
    (r'\.(rbr_conv\.0|conv_kxk\.0|lkb_origin|large_conv)\.', '.convs.0.'),
    (r'\.(rbr_scale|conv_scale|small_conv)\.', '.convs.1.'),
    (r'\.(rbr_skip|identity)\.', '.skip.'),
    (r'(\.convs\.\d)\.bn\.', r'\1.norm.'),
    (r'\.(reparam_conv|lkb_reparam)\.', '.fused.'),
    (r'\.se\.(reduce|fc1)\.', '.se.reduce.'),
    (r'\.se\.(expand|fc2)\.', '.se.expand.'),
)]


@dataclass(frozen=True)
class Converted:
    """A checkpoint under our names.

    Attributes:
        format: ``'apple'``, ``'timm'`` or ``'mmfastvit'``.
        fused: Whether it is in deploy form.
        backbone: The tensors of :class:`FastViT`.
        classifier: Those of neck and head, as ``neck.*`` and ``head.*``.
        ignored: Keys of neither, the other parts of a detector for example.
    """

    format: str
    fused: bool
    backbone: StateDict
    classifier: StateDict
    ignored: Tuple[str, ...]


@dataclass(frozen=True)
class LoadReport:
    """What ``load_pretrained`` did; ``str()`` gives a line to log."""

    source: str
    format: str
    fused: bool
    loaded: int
    left_out: Tuple[str, ...]
    fresh: Tuple[str, ...]

    def __str__(self) -> str:
        form = 're-parameterized ' if self.fused else ''
        text = (f'{self.source}: {form}weights under {_FORMATS[self.format]} '
                f'names; {self.loaded} tensors loaded')
        for what, keys in (('left out', self.left_out),
                           ('not in the file, freshly initialised',
                            self.fresh)):
            if keys:
                text += f'; {len(keys)} {what}: {_shorten(keys)}'
        return text + '.'


def convert_state_dict(state_dict: StateDict,
                       classifier: bool = False) -> StateDict:
    """Return a FastViT state dict under our key names.

    Recognises Apple's and timm's names, each as trained or re-parameterized,
    and our own, with any prefix such as ``backbone.`` or ``module.``.

    Args:
        state_dict: Names to tensors. It is not changed.
        classifier: Return the names of a whole MMPretrain classifier,
            ``backbone.*``, ``neck.*`` and ``head.fc.*``, instead of the
            backbone's alone.

    Raises:
        CheckpointError: The names are of no known format.

    Example:
        >>> apple = torch.load('fastvit_sa12.pth.tar', weights_only=True)
        >>> FastViT('sa12', out_norm_cfg=None).load_state_dict(
        ...     convert_state_dict(apple['state_dict']))
        <All keys matched successfully>
    """
    converted = convert(state_dict)
    if not classifier:
        return converted.backbone
    backbone = {f'backbone.{k}': v for k, v in converted.backbone.items()}
    return {**backbone, **converted.classifier}


def convert(state_dict: StateDict, prefix: Optional[str] = None) -> Converted:
    """Sort and rename a state dict; see :func:`convert_state_dict`.

    Args:
        state_dict: Names to tensors.
        prefix: What stands before the backbone's names; None finds out.

    Raises:
        CheckpointError: No FastViT is in it, or more than one.
    """
    matches = [match for match in map(_FIRST_KEY.match, state_dict) if match
               and prefix in (None, match['prefix'])]
    if len(matches) != 1:
        found = [match['prefix'] for match in matches]
        raise CheckpointError(
            (f'the checkpoint holds several FastViTs, under {found}: say '
             'which with prefix=' if found else
             f'the checkpoint holds no FastViT{f" under {prefix}" if prefix else ""}')
            + f". Known are Apple's, timm's and mmfastvit's key names; the "
            f'first of its {len(state_dict)} keys are '
            f'{_shorten(list(state_dict))}.')
    match = matches[0]
    own = match['mmfastvit'] is not None
    backbone, classifier, ignored = {}, {}, []
    for key, value in state_dict.items():
        name = key[len(match['prefix']):]
        inside = key.startswith(match['prefix'])
        if own and not inside:
            name = key  # our classifier's neck and head stand beside us
        elif not own:
            name = _rename(name)
        if name.startswith(('neck.', 'head.')):
            classifier[name] = value
        elif inside:
            backbone[name] = value
        else:
            ignored.append(key)
    if not own:
        backbone = {k: v.flatten() if k.endswith('.layer_scale') else v
                    for k, v in backbone.items()}
    fused = any(name.endswith('.fused.weight') for name in backbone)
    if fused:
        backbone = _finish_folding(backbone)
    fmt = next(name for name in _FORMATS if match[name] is not None)
    return Converted(fmt, fused, backbone, classifier, tuple(ignored))


def load_pretrained(model: nn.Module, source: str,
                    prefix: Optional[str] = None) -> LoadReport:
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
               fresh: List[str]) -> None:
    """Raise if ``weights`` would not fill ``expected`` exactly."""
    missing = [k for k in expected if k not in weights and k not in fresh]
    unexpected = [k for k in weights if k not in expected]
    misshapen = [f'{k} {tuple(v.shape)} for {tuple(expected[k].shape)}'
                 for k, v in weights.items()
                 if k in expected and v.shape != expected[k].shape]
    if not (missing or unexpected or misshapen):
        return
    counts = [f'{len(keys)} {what}: {_shorten(keys)}' for what, keys in (
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
        if match:
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


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _finish_folding(weights: StateDict) -> StateDict:
    """Fold what a re-parameterized file of Apple's or timm's leaves unfolded."""
    weights = dict(weights)
    for name in list(weights):
        layer, _, what = name.rpartition('.')
        if what == 'layer_scale':
            op, scale = f'{layer}.op', weights.pop(name)
            fold = fold_scale
        elif what == 'running_var' and layer.endswith('.convs.0.norm'):
            scale = _pop_norm(weights, layer)
            layer = layer[:-len('.convs.0.norm')]
            op, fold = f'{layer}.convs.0.conv', fold_norm_after
        elif what == 'running_var' and layer.endswith('.qkv.norm'):
            scale = _pop_norm(weights, layer)
            layer = layer[:-len('.norm')]
            op, fold = f'{layer}.linear', fold_norm_before
        else:
            continue
        kernel = weights.pop(f'{op}.weight')
        folded = fold(kernel, weights.pop(f'{op}.bias', None), scale)
        for part, value in zip(('weight', 'bias'), folded):
            weights[f'{layer}.fused.{part}'] = value.to(kernel.dtype)
    return weights


def _pop_norm(weights: StateDict, name: str) -> SimpleNamespace:
    """Take a batch norm out of ``weights``; eps is the reference's."""
    weights.pop(f'{name}.num_batches_tracked', None)
    return SimpleNamespace(eps=1e-5, **{
        part: weights.pop(f'{name}.{part}')
        for part in ('weight', 'bias', 'running_mean', 'running_var')})


def _shorten(keys) -> str:
    keys = list(keys)
    return ', '.join(keys[:4]) + (', …' if len(keys) > 4 else '')
