"""FastViT (arXiv 2303.14189): a variant is a row of ``variants.py``."""
from .backbone import FastViT
from .key_names import convert_state_dict
from .neck import FastViTNeck
from .variants import VARIANTS

__all__ = ['VARIANTS', 'FastViT', 'FastViTNeck', 'convert_state_dict']
