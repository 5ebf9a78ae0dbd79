"""FastViT for MMDetection, MMSegmentation and MMPretrain.

Importing this package registers ``FastViT`` and ``FastViTNeck`` with MMEngine,
where the registries of all three toolboxes find them, and lets configs inherit
from ``mmfastvit::fastvit/…``.
"""
from .checkpoints.load import load_pretrained
from .engine.config_inheritance import allow_inheritance
from .models.fastvit import VARIANTS, FastViT, FastViTNeck, convert_state_dict
from .models.reparam import reparameterize
from .utils.errors import ArgumentError, CheckpointError, DataError
from .version import __version__

__all__ = [
    'VARIANTS', 'ArgumentError', 'CheckpointError', 'DataError', 'FastViT',
    'FastViTNeck', '__version__', 'convert_state_dict', 'load_pretrained',
    'reparameterize',
]

allow_inheritance()
