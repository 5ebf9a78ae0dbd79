"""3D hand meshes: importing this registers all that their configs name.

It needs mmcv, whose transforms read and resize pictures, scipy, and for the configs'
ColorJitter mmpretrain.
"""
from .datasets.freihand import FreiHANDDataset
from .datasets.hand_transforms import HandCrop, HandFlip, PackHandInputs
from .engine.hand_hooks import HandStatisticsHook
from .engine.hand_visualizer import HandVisualizer
from .evaluation import FreiHANDMetric
from .models.hands import HandMeshEstimator, MANOHead, MeshTokenHead

__all__ = ['FreiHANDDataset', 'FreiHANDMetric', 'HandCrop', 'HandFlip',
           'HandMeshEstimator', 'HandStatisticsHook', 'HandVisualizer', 'MANOHead',
           'MeshTokenHead', 'PackHandInputs']
