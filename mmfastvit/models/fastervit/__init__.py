"""FasterViT (arXiv 2306.06189): a variant is a row of ``variants.py``.

Written from facts alone; no code of its authors is in it.
"""
from .backbone import FasterViT
from .variants import VARIANTS

__all__ = ['VARIANTS', 'FasterViT']
