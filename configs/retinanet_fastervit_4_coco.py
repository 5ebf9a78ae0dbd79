_base_ = 'retinanet_fastervit_0_coco.py'

model = dict(
    backbone=dict(
        arch='4', init_cfg=dict(checkpoint='nvidia://fastervit_4_224_1k')),
    neck=dict(in_channels=[392, 784, 1568]))
