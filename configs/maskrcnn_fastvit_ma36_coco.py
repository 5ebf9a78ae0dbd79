_base_ = 'maskrcnn_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(arch='ma36'),
    neck=dict(in_channels=[76, 152, 304, 608]))
