"""What networks are made of; a layer that folds is a ``Reparameterizable``."""
from .attention import Attention
from .conv_ffn import ConvFFN
from .drop_path import DropPath
from .layer_scale import LayerScaled
from .mlp import Mlp
from .modules import Conv2d, Linear
from .norm import build_norm
from .norm_linear import LayerNormLinear, NormLinear
from .pixel_norm import PixelNorm
from .rep_conv import RepConv, conv_of_gelu
from .rep_cpe import RepCPE
from .rep_mixer import RepMixer
from .squeeze_excite import SqueezeExcite
from .stem import ConvStem

__all__ = [
    'Attention', 'Conv2d', 'ConvFFN', 'ConvStem', 'DropPath', 'LayerNormLinear',
    'LayerScaled', 'Linear', 'Mlp', 'NormLinear', 'PixelNorm', 'RepCPE', 'RepConv',
    'RepMixer', 'SqueezeExcite', 'build_norm', 'conv_of_gelu',
]
