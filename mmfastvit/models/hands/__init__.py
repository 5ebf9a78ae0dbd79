"""Networks for 3D hand meshes."""
from .estimator import HandMeshEstimator
from .head import HandHead, HandPrediction
from .mano import MANO
from .mano_head import MANOHead
from .sample import HandDataSample
from .token_head import MeshTokenHead

__all__ = ['MANO', 'HandDataSample', 'HandHead', 'HandMeshEstimator', 'HandPrediction',
           'MANOHead', 'MeshTokenHead']
