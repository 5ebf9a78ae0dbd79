_base_ = 'maskrcnn_fastervit_0_coco.py'

model = dict(
    backbone=dict(
        arch='2', init_cfg=dict(checkpoint='nvidia://fastervit_2_224_1k')),
    neck=dict(in_channels=[96, 192, 384, 768]))
