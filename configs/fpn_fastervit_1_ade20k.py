_base_ = 'fpn_fastervit_0_ade20k.py'

model = dict(
    backbone=dict(
        arch='1', init_cfg=dict(checkpoint='nvidia://fastervit_1_224_1k')),
    neck=dict(in_channels=[80, 160, 320, 640]))
