_base_ = 'retinanet_fastervit_0_coco.py'

model = dict(
    backbone=dict(
        arch='1', init_cfg=dict(checkpoint='nvidia://fastervit_1_224_1k')),
    neck=dict(in_channels=[160, 320, 640]))
