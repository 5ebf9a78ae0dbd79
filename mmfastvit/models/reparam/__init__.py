"""Re-parameterization: several operations as one, exactly.

``fusion.py`` is the algebra, ``live.py`` the same on the batch's own statistics,
``reparameterizable.py`` what a layer with several forms is, ``reparameterize.py`` the
function that folds a model.
"""
from .reparameterizable import Reparameterizable, run_branches
from .reparameterize import reparameterizable_layers, reparameterize

__all__ = ['Reparameterizable', 'reparameterizable_layers', 'reparameterize',
           'run_branches']
