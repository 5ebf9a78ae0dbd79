"""What networks are made of; a layer that folds is a ``Reparameterizable``."""
from .attention import Attention
from .conv_ffn import ConvFFN
from .drop_path import DropPath
from .layer_scale import LayerScaled
from .modules import Conv2d, Linear
from .norm import build_norm
from .norm_linear import LayerNormLinear, NormLinear
from .rep_conv import RepConv
from .rep_cpe import RepCPE
from .rep_mixer import RepMixer
from .squeeze_excite import SqueezeExcite

__all__ = [
    'Attention', 'Conv2d', 'ConvFFN', 'DropPath', 'LayerNormLinear', 'LayerScaled',
    'Linear', 'NormLinear', 'RepCPE', 'RepConv', 'RepMixer', 'SqueezeExcite',
    'build_norm',
]
