"""Time and memory of FastViT's forms, side by side, and beside timm's.

Every comparison is made in one run, on the same weights and inputs, each
contestant in a process of its own. The maps of backbones are held against each
other before anything is timed; for whole models that are not beside timm's,
``tools/reparameterize.py`` does that.
"""
from .compare import benchmark
from .contestants import Case
from .results import Result

__all__ = ['Case', 'Result', 'benchmark']
