from .attention import Attention, NormLinear
from .conv_ffn import ConvFFN
from .drop_path import DropPath
from .layer_scale import LayerScaled
from .rep_conv import RepConv
from .rep_cpe import RepCPE
from .rep_mixer import RepMixer
from .reparameterizable import Reparameterizable, run_branches

__all__ = [
    'Attention', 'ConvFFN', 'DropPath', 'LayerScaled', 'NormLinear',
    'RepCPE', 'RepConv', 'RepMixer', 'Reparameterizable',
    'run_branches',
]
