"""FasterViT as an OpenMMLab backbone."""
from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import nn

from mmfastvit.models.arch import resolve
from mmfastvit.models.backbone import Backbone

from .blocks import STAGES, Stem
from .variants import VARIANTS
from .weights import FasterViTWeights


@MODELS.register_module()
class FasterViT(Backbone):
    """FasterViT (arXiv 2306.06189): the maps of its stages, of pictures of any size.

    The feature of a stage is the output of its last block, before downsampling. All
    that depends on the size, windows, carrier tokens and positions, comes from the map
    at hand; weights of one size serve at any other. On grids of as many windows down as
    across it is the official network. On others that one lays carrier tokens out
    wrongly, which no published weights were trained with; here each axis counts for
    itself (guarded by tests/models/test_fastervit.py).

    Training on pictures that one window of stage 2 holds (112x112 or smaller) gives
    its carrier tokens no gradient, which distributed training refuses.

    Args:
        arch: A name in ``VARIANTS`` or a dict with the fields of ``Variant``.
        out_norm_cfg: Config of a norm on each output. The ImageNet weights have one,
            of the last stage's, which is loaded.
        drop_path_rate: Stochastic depth of the last block; None takes the variant's.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes a path or URL of
            NVIDIA's or this project's weights, or a name in ``PUBLISHED``,
            ``'nvidia://fastervit_0_224_1k'`` for example.

        The others are those of :class:`mmfastvit.models.fastvit.FastViT`.

    Raises:
        ArgumentError: An argument is out of range.

    Example:
        >>> model = FasterViT('0')
        >>> for x in model(torch.rand(1, 3, 224, 320)):
        ...     print(tuple(x.shape))
        (1, 64, 56, 80)
        (1, 128, 28, 40)
        (1, 256, 14, 20)
        (1, 512, 7, 10)
    """

    weights_class = FasterViTWeights

    def __init__(self,
                 arch: str | dict = '0',
                 in_channels: int = 3,
                 out_indices: Sequence[int] | None = (0, 1, 2, 3),
                 out_norm_cfg: dict | None = dict(type='BN'),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 drop_path_rate: float | None = None,
                 with_cp: bool = False,
                 deploy: bool = False,
                 init_cfg: dict | None = None):
        variant = resolve(arch, VARIANTS)
        if drop_path_rate is None:
            drop_path_rate = variant.drop_path_rate
        super().__init__(variant, in_channels, out_indices, out_norm_cfg,
                         frozen_stages, norm_eval, norm_cfg, drop_path_rate, with_cp,
                         deploy, init_cfg)

    def build_stem(self) -> Stem:
        return Stem(self.in_channels, self.variant, self.norm_cfg)

    def build_stage(self, index: int, drop_path_rates: list[float]) -> nn.Module:
        stage = STAGES[self.variant.token_mixers[index]]
        return stage(self.variant, index, drop_path_rates, self.norm_cfg, self.with_cp)

    @property
    def general_size(self) -> tuple[int, int]:
        """Two windows below each other in each stage, and three side by side."""
        reach = max((4 * 2**i * side for i, (side, mixer) in enumerate(
            zip(self.variant.window_sizes, self.variant.token_mixers))
            if mixer != 'conv'), default=1)
        return reach + 32, 2 * reach + 32

    def train_form(self) -> 'FasterViT':
        """Return a train form like this network, its trunk fresh."""
        return self.fresh(FasterViT)
