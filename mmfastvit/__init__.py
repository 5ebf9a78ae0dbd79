"""FastViT for MMDetection, MMSegmentation and MMPretrain.

Importing this package registers ``FastViT`` and ``FastViTNeck`` with MMEngine,
where the registries of all three toolboxes find them, and lets configs inherit
from ``mmfastvit::fastvit/…``.
"""
from .backbone import FastViT
from .checkpoint import load_pretrained
from .config_inheritance import allow_inheritance
from .conversion import convert_state_dict
from .errors import ArgumentError, CheckpointError, DataError
from .neck import FastViTNeck
from .reparam import reparameterize
from .variants import VARIANTS
from .version import __version__

__all__ = [
    'VARIANTS', 'ArgumentError', 'CheckpointError', 'DataError', 'FastViT',
    'FastViTNeck', '__version__', 'convert_state_dict', 'load_pretrained',
    'reparameterize',
]

allow_inheritance()
