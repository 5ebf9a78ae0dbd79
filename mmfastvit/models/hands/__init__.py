"""Networks for 3D hand meshes."""
from .mano import MANO

__all__ = ['MANO']
