"""Every kind of model as one module that takes pictures and exports."""
import copy
from collections import Counter
from collections.abc import Callable, Sequence

from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from mmfastvit.models.reparam.fusion import norm_scale_shift
from mmfastvit.models.reparam.norms import is_foldable
from mmfastvit.utils.errors import ArgumentError

from .hands import HandMesh
from .preprocessing import Preprocess
from .segmentors import Segmentor
from .substitutions import substitute

NO_MASKS = 'Only detectors with masks have some to paste: leave --paste out.'


class Pyramid(nn.Module):
    """A backbone: picture in, feature maps out, for heads of one's own."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.preprocess = Preprocess(model.data_preprocessor)
        self.backbone = model.backbone
        self.outputs = [f'stage{i + 1}' for i in self.backbone.out_indices]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W), 0 to 255, to (B, C, H/s, W/s) of each stage."""
        return self.backbone(self.preprocess(image))


class ImageEncoder(nn.Module):
    """A classifier of MMPretrain without a head: pictures in, an embedding out."""

    outputs = ['embedding']

    def __init__(self, model: nn.Module):
        super().__init__()
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Map (B, 3, H, W), 0 to 255, to ((B, D),), not normalised."""
        return self.model.extract_feat(self.preprocess(image))


class Classifier(nn.Module):
    """A classifier of MMPretrain: pictures in, (B, classes) probabilities out."""

    outputs = ['scores']

    def __init__(self, model: nn.Module):
        super().__init__()
        from mmpretrain.models.heads import ClsHead
        if type(model.head).predict is not ClsHead.predict:
            raise ArgumentError(
                f'{type(model.head).__name__} cannot be exported: only heads whose '
                'scores are the softmax of what they return can.')
        self.preprocess = Preprocess(model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W), 0 to 255, to probabilities (B, classes)."""
        maps = self.model.extract_feat(self.preprocess(image))
        return self.model.head(maps).softmax(1)


def exportable(model: nn.Module, backbone_only: bool = False, paste: bool = False,
               known: Sequence[str] = (), shared: bool = True
               ) -> tuple[str, nn.Module]:
    """Return the task of a model, and a module that takes pictures.

    Args:
        model: A detector, segmentor, classifier or estimator of hands; it is left as it
            is.
        backbone_only: Whether to take its backbone alone.
        paste: Whether masks are to be pictures, not squares over their boxes.
        known: Modules that the format knows, so that nothing takes their place.
        shared: Whether a convolution may serve several maps.

    Raises:
        ArgumentError: It computes something that would not be exported, or has no
            masks to paste.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    if not shared:
        _unshare(model)
    _fold_norms(model)
    substitute(model, known)
    kinds = [type_.__name__ for type_ in type(model).__mro__]
    if paste and (backbone_only or 'BaseDetector' not in kinds):
        raise ArgumentError(NO_MASKS)
    if backbone_only:
        return 'features', Pyramid(model)
    for kind in kinds:
        if kind in WHOLE:
            return WHOLE[kind](model, paste)
    raise ArgumentError(
        f'{type(model).__name__} cannot be exported as a whole: only classifiers, '
        'segmentors and detectors of the toolboxes, and estimators of hand meshes, '
        'can. Export its backbone alone (--backbone-only).')


def _classifier(model: nn.Module, paste: bool) -> tuple[str, nn.Module]:
    return ('features', ImageEncoder(model)) if model.head is None else (
        'classification', Classifier(model))


def _detector(model: nn.Module, paste: bool) -> tuple[str, nn.Module]:
    from .detectors import find_detector
    detector = find_detector(model, paste)
    if paste and 'masks' not in detector.outputs:
        raise ArgumentError(NO_MASKS)
    return 'detection', detector


# By name of a model's class, or one that it is made of: what returns its task, and a
# module that takes pictures, of it and whether masks are to be pasted.
WHOLE: dict[str, Callable[[nn.Module, bool], tuple[str, nn.Module]]] = {
    'ImageClassifier': _classifier,
    'EncoderDecoder': lambda model, paste: ('segmentation', Segmentor(model)),
    'BaseDetector': _detector,
    'HandMeshEstimator': lambda model, paste: ('hand_mesh', HandMesh(model))}


def _unshare(model: nn.Module) -> None:
    """Give each ``ConvModule`` a convolution of its own, with the same weights."""
    own = set()
    for module in model.modules():
        if isinstance(module, ConvModule):
            if id(module.conv) in own:
                module.conv = copy.deepcopy(module.conv)
            own.add(id(module.conv))


def _fold_norms(model: nn.Module) -> None:
    """Turn every batch norm that is left after re-parameterization into weights.

    Those after a convolution, of necks and heads, go into it; the fresh norms on
    the backbone's maps, which no convolution alone reads, each become one.
    """
    norms = getattr(model.backbone, 'out_norms', {})
    for name, norm in norms.items():
        if is_foldable(norm) and type(norm) is not nn.Identity:
            scale, shift = norm_scale_shift(norm)
            conv = nn.Conv2d(len(scale), len(scale), 1, groups=len(scale))
            conv.weight.data, conv.bias.data = scale.reshape(-1, 1, 1, 1), shift
            norms[name] = conv.requires_grad_(False)
    modules = [module for module in model.modules() if isinstance(module, ConvModule)]
    uses = Counter(id(module.conv) for module in modules)
    for module in modules:
        if (module.order[:2] == ('conv', 'norm') and module.with_norm
                and is_foldable(module.norm) and type(module.conv) is nn.Conv2d
                and uses[id(module.conv)] == 1):  # some heads share convolutions
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            setattr(module, module.norm_name, nn.Identity())
