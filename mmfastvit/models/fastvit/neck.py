"""What stands between stages and classifier: expansion, squeeze-excite, pooling."""
from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmfastvit.models.layers import RepConv, SqueezeExcite
from mmfastvit.models.pretrained import PretrainedModule
from mmfastvit.models.reparam import reparameterize
from mmfastvit.utils.errors import ArgumentError

from .weights import NeckWeights


@MODELS.register_module()
class FastViTNeck(PretrainedModule):
    """What FastViT's classifier does between backbone and linear head.

    A depthwise 3x3 MobileOne block that doubles the channels, with
    squeeze-excite before its GELU, then global average pooling: for an
    MMPretrain ``ImageClassifier`` whose backbone is a ``FastViT`` with its last
    stage as only output, ``out_norm_cfg=None``. With ``embedding_dims`` it is the end
    of MobileCLIP's image encoder, whose result lies in the space of the texts.

    Args:
        in_channels: Channels of the last stage.
        out_channels: Channels after the expansion; None means ``2 * in_channels``.
        norm_cfg: Config of every norm.
        deploy: Build the deploy form.
        embedding_dims: Channels of the image's embedding; None leaves the projection
            out.
        init_cfg: As for :class:`FastViT`; the neck's part of the same file is taken.
        pool: Whether to take the mean over the map; without it, heads get the map.

    Raises:
        ArgumentError: ``embedding_dims`` is given without ``pool``.

    Example:
        >>> neck = FastViTNeck(512)
        >>> neck((torch.rand(2, 512, 8, 8),))[0].shape
        torch.Size([2, 1024])
    """

    def __init__(self, in_channels: int, out_channels: int | None = None,
                 norm_cfg: dict = dict(type='BN'),
                 deploy: bool = False,
                 embedding_dims: int | None = None,
                 init_cfg: dict | None = None,
                 pool: bool = True):
        super().__init__(init_cfg)
        if embedding_dims is not None and not pool:
            raise ArgumentError(
                f'embedding_dims={embedding_dims} with pool=False: the projection '
                'takes the pooled vector. Leave one of them out.')
        self.pool = pool
        self.in_channels = in_channels
        self.out_channels = out_channels or 2 * in_channels
        self.norm_cfg = norm_cfg
        self.embedding_dims = embedding_dims
        self.conv = RepConv(in_channels, self.out_channels, (3, 1),
                            groups=in_channels, norm_cfg=norm_cfg)
        self.se = SqueezeExcite(self.out_channels)
        self.act = nn.GELU()
        self.proj: nn.Linear | None = None
        if embedding_dims is not None:
            self.proj = nn.Linear(self.out_channels, embedding_dims)
        if deploy:
            self.switch_to_deploy()

    def forward(self, x: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """Map the last of several (B, C, H, W) to one vector for each picture.

        Returns:
            ((B, out_channels),), or ((B, embedding_dims),), not normalised; without
            ``pool``, ((B, out_channels, H, W),).
        """
        if not isinstance(x, Tensor):
            x = x[-1]
        expanded = self.expand(x)
        if not self.pool:
            return (expanded,)
        pooled = expanded.mean((2, 3))
        return (pooled if self.proj is None else self.proj(pooled),)

    def expand(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) -> (B, out_channels, H, W), before pooling."""
        return self.act(self.se(self.conv(x)))

    @property
    def weights(self) -> NeckWeights:
        """What the loader asks: addresses, key names, what a file holds."""
        return NeckWeights(self)

    @property
    def deploy(self) -> bool:
        """Whether every layer is one stored operation."""
        return self.conv.fused is not None

    def switch_to_deploy(self) -> None:
        """Re-parameterize in place."""
        reparameterize(self, inplace=True)

    def train_form(self) -> 'FastViTNeck':
        """Return a fresh neck like this one, in train form."""
        return FastViTNeck(self.in_channels, self.out_channels, self.norm_cfg,
                           embedding_dims=self.embedding_dims, pool=self.pool)
