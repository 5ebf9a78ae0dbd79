"""Metrics that OpenMMLab's toolboxes lack."""
from .freihand import FreiHANDMetric

__all__ = ['FreiHANDMetric']
