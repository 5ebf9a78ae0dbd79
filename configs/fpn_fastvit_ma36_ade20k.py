_base_ = 'fpn_fastvit_sa12_ade20k.py'

model = dict(
    backbone=dict(arch='ma36'),
    neck=dict(in_channels=[76, 152, 304, 608]))
