_base_ = 'maskrcnn_fastervit_0_coco.py'

model = dict(
    backbone=dict(
        arch='3', init_cfg=dict(checkpoint='nvidia://fastervit_3_224_1k')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
