"""FastViT and FasterViT for MMDetection, MMSegmentation and MMPretrain.

Importing this package registers ``FastViT``, ``FastViTNeck`` and ``FasterViT`` with
MMEngine, where the registries of all three toolboxes find them, and lets configs
inherit from ``mmfastvit::fastvit/…``.
"""
from .checkpoints.load import load_pretrained
from .engine.config_inheritance import allow_inheritance
from .models.fastervit import FasterViT
from .models.fastvit import VARIANTS, FastViT, FastViTNeck, convert_state_dict
from .models.reparam import reparameterize
from .utils.errors import ArgumentError, CheckpointError, DataError
from .version import __version__

__all__ = [
    'VARIANTS', 'ArgumentError', 'CheckpointError', 'DataError', 'FasterViT',
    'FastViT', 'FastViTNeck', '__version__', 'convert_state_dict', 'load_pretrained',
    'reparameterize',
]

allow_inheritance()
