_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(arch='ma36'),
    neck=dict(in_channels=[152, 304, 608]))
