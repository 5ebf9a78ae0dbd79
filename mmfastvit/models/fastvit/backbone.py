"""FastViT as an OpenMMLab backbone."""
from collections.abc import Sequence
from dataclasses import replace

from mmengine.registry import MODELS

from mmfastvit.models.backbone import Backbone

from .blocks import Stage, Stem
from .variants import resolve_arch
from .weights import FastViTWeights


@MODELS.register_module()
class FastViT(Backbone):
    """FastViT (arXiv 2303.14189) and its later members: the maps of their stages.

    The feature of a stage is the output of its last block. (The reference
    code hands out the position encoding's output as the fourth map of SA12 to
    MA36, so that their attention blocks get no gradient.)

    For class-activation maps take a whole stage as target layer, such as
    ``backbone.stages.3``: it is there in train form and deploy form, and training.

    Args:
        arch: A name in ``VARIANTS`` or a dict with the fields of ``Variant``.
        in_channels: Channels of the image.
        out_indices: Stages, counted from 0, whose features to return; None
            takes the first four, or all where there are fewer. Stages after
            the last of them are not built. Ask for those alone that the neck
            takes: the output norm of any other gets no gradient, which
            distributed training refuses.
        out_norm_cfg: Config of a fresh norm on each output, which the
            reference adds for dense prediction; None for the bare features.
            These norms are no part of a stage: ``frozen_stages`` and
            re-parameterization leave them alone.
        frozen_stages: -1 trains everything, 0 freezes the stem, i the stem
            and the first i stages: no gradients, running statistics.
        norm_eval: Keep all batch norms on running statistics in training.
            Every layer then trains as one convolution; output norms, whose
            statistics are fresh, become learnable scales and shifts.
        norm_cfg: Config of every norm inside. Only batch norms can be
            re-parameterized.
        drop_path_rate: Stochastic depth of the last block; the rate grows
            linearly from 0 over all blocks.
        layer_scale_init_value: Start value of all layer scales; None takes
            the variant's.
        with_cp: Recompute blocks in the backward pass to save memory.
        deploy: Build the deploy form, one convolution for each layer.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes a path or
            URL of Apple's, timm's or this project's weights, or a name in
            ``PUBLISHED``, ``'apple://in1k'`` for Apple's ImageNet weights of this
            variant; with ``adapt_input=True`` also for other ``in_channels``; see
            :func:`mmfastvit.checkpoints.load.load_pretrained`.

    Attributes:
        out_channels: Channels of each returned map.
        strides: Stride of each returned map to the image.

    Raises:
        ArgumentError: An argument is out of range.

    Example:
        >>> model = FastViT('sa12')
        >>> for x in model(torch.rand(1, 3, 224, 224)):
        ...     print(tuple(x.shape))
        (1, 64, 56, 56)
        (1, 128, 28, 28)
        (1, 256, 14, 14)
        (1, 512, 7, 7)
    """

    weights_class = FastViTWeights

    def __init__(self,
                 arch: str | dict = 'sa12',
                 in_channels: int = 3,
                 out_indices: Sequence[int] | None = None,
                 out_norm_cfg: dict | None = dict(type='BN'),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 drop_path_rate: float = 0.,
                 layer_scale_init_value: float | None = None,
                 with_cp: bool = False,
                 deploy: bool = False,
                 init_cfg: dict | None = None):
        variant = resolve_arch(arch)
        if layer_scale_init_value is not None:
            variant = replace(variant,
                              layer_scale_init_value=layer_scale_init_value)
        super().__init__(variant, in_channels, out_indices, out_norm_cfg,
                         frozen_stages, norm_eval, norm_cfg, drop_path_rate, with_cp,
                         deploy, init_cfg)

    def build_stem(self) -> Stem:
        return Stem(self.in_channels, self.variant, self.norm_cfg)

    def build_stage(self, index: int, drop_path_rates: list[float]) -> Stage:
        return Stage(self.variant, index, drop_path_rates, self.norm_cfg, self.with_cp)

    def train_form(self) -> 'FastViT':
        """Return a train form like this network, its trunk fresh."""
        return self.fresh(FastViT)
