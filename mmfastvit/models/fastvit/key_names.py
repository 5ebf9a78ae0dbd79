"""Key names of Apple's, timm's and our checkpoints of FastViT.

``convert_state_dict`` renames; a re-parameterized file of Apple's or timm's, which
still holds the norms of ConvFFN and attention and the layer scales, is folded to the
end on the way.
"""
import re
from dataclasses import replace

from mmfastvit.checkpoints.family import Converted
from mmfastvit.checkpoints.fit import StateDict
from mmfastvit.checkpoints.key_names import KeyNames
from mmfastvit.models.reparam.fusion import (
    FixedNorm,
    fold_affine_before,
    fold_norm_after,
    fold_norm_before,
    fold_scale,
)
from mmfastvit.utils.errors import CheckpointError

from .variants import VARIANTS, name_variant

# The first tensor of the stem tells the format, what stands before it, and
# whether the file is re-parameterized.
_FIRST_KEY = re.compile(
    r'^(?P<prefix>.*?)(?:'
    r'(?P<apple>patch_embed\.0\.(?:rbr_conv\.0\.conv|reparam_conv))|'
    r'(?P<timm>stem\.0\.(?:conv_kxk\.0\.conv|reparam_conv))|'
    r'(?P<mmfastvit>stem\.0\.(?:convs\.0\.conv|fused)))\.weight$')

# Applied in this order; on the left Apple's name | timm's name.
_RENAMES = [(re.compile(pattern), name) for pattern, name in (
    # Where a layer is.
    (r'^patch_embed\.', 'stem.'),
    (r'^network\.0\.', 'stages.0.blocks.'),
    (r'^network\.1\.proj\.', 'stages.1.downsample.'),
    (r'^network\.2\.', 'stages.1.blocks.'),
    (r'^network\.3\.proj\.', 'stages.2.downsample.'),
    (r'^network\.4\.', 'stages.2.blocks.'),
    (r'^network\.5\.proj\.', 'stages.3.downsample.'),
    (r'^network\.6\.(?=pe\.|reparam_conv\.)', 'stages.3.position_encoding.'),
    (r'^network\.[67]\.', 'stages.3.blocks.'),
    (r'^network\.8\.proj\.', 'stages.4.downsample.'),
    (r'^network\.9\.', 'stages.4.position_encoding.'),
    (r'^network\.10\.', 'stages.4.blocks.'),
    (r'\.downsample\.proj\.', '.downsample.'),
    (r'\.downsample\.0\.se\.', '.downsample.se.'),
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

NAMES = KeyNames(
    'FastViT', _FIRST_KEY,
    {'apple': "Apple's", 'timm': "timm's", 'mmfastvit': 'our own'}, _RENAMES,
    ('neck.conv.', 'neck.se.', 'neck.proj.', 'head.fc.'))


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


def convert(state_dict: StateDict, prefix: str | None = None) -> Converted:
    """Sort and rename a state dict; see :func:`convert_state_dict`.

    Args:
        state_dict: Names to tensors.
        prefix: What stands before the backbone's names; None finds out.

    Raises:
        CheckpointError: No FastViT is in it, or more than one.
    """
    found = NAMES.sort(state_dict, prefix)
    backbone, classifier = found.backbone, found.classifier
    if found.format != 'mmfastvit':
        backbone = {k: v.flatten() if k.endswith('.layer_scale') else v
                    for k, v in backbone.items()}
        classifier = _name_projection(classifier, backbone)
    if found.fused:
        try:
            backbone = _finish_folding(backbone)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                'the checkpoint is re-parameterized in part, or incomplete: '
                f'{error} does not go together with the rest. Convert it again '
                'from the original.') from error
    return replace(found, backbone=backbone, classifier=classifier)


def _name_projection(classifier: StateDict, backbone: StateDict) -> StateDict:
    """Give the projection of an image tower its name.

    Apple's is a matrix (2C, D) without bias. timm has it in the classifier's place;
    there the width tells it apart.
    """
    classifier = dict(classifier)
    if 'head.fc.proj' in classifier:
        kernel = classifier.pop('head.fc.proj').t()
        bias = kernel.new_zeros(len(kernel))
    else:
        variant = VARIANTS.get(name_variant(backbone))
        kernel = classifier.get('head.fc.weight')
        if (variant is None or kernel is None
                or len(kernel) != variant.embedding_dims):
            return classifier
        kernel = classifier.pop('head.fc.weight')
        bias = classifier.pop('head.fc.bias', kernel.new_zeros(len(kernel)))
    return {**classifier, 'neck.proj.weight': kernel, 'neck.proj.bias': bias}


def _finish_folding(weights: StateDict) -> StateDict:
    """Fold what Apple's and timm's re-parameterization leaves unfolded."""
    weights = dict(weights)
    for name in list(weights):
        layer, _, what = name.rpartition('.')
        if what == 'layer_scale':
            op, fold, rest = 'op', fold_scale, [weights.pop(name)]
        elif what == 'running_var' and layer.endswith('.convs.0.norm'):
            op, fold, rest = 'convs.0.conv', fold_norm_after, [
                _pop_norm(weights, layer)]
            layer = layer[:-len('.convs.0.norm')]
        elif what == 'running_var' and layer.endswith('.qkv.norm'):
            op, fold, rest = 'linear', fold_norm_before, [_pop_norm(weights, layer)]
            layer = layer[:-len('.norm')]
        elif (what == 'weight' and layer.endswith('.qkv.norm') and name in weights
              and f'{layer}.running_var' not in weights):
            op, fold, rest = 'linear', fold_affine_before, [
                weights.pop(name), weights.pop(f'{layer}.bias')]
            layer = layer[:-len('.norm')]
        else:
            continue
        kernel = weights.pop(f'{layer}.{op}.weight')
        folded = fold(kernel, weights.pop(f'{layer}.{op}.bias', None), *rest)
        for part, value in zip(('weight', 'bias'), folded):
            weights[f'{layer}.fused.{part}'] = value.to(kernel.dtype)
    return weights


def _pop_norm(weights: StateDict, name: str) -> FixedNorm:
    """Take a batch norm out of ``weights``; eps is the reference's."""
    weights.pop(f'{name}.num_batches_tracked', None)
    return FixedNorm(eps=1e-5, **{
        part: weights.pop(f'{name}.{part}')
        for part in ('weight', 'bias', 'running_mean', 'running_var')})
