_base_ = 'fpn_fastervit_0_ade20k.py'

model = dict(
    backbone=dict(
        arch='4', init_cfg=dict(checkpoint='nvidia://fastervit_4_224_1k')),
    neck=dict(in_channels=[196, 392, 784, 1568]))
