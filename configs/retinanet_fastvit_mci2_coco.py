_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(
    data_preprocessor=dict(mean=[0., 0., 0.], std=[255., 255., 255.]),
    backbone=dict(
        arch='mci2',
        init_cfg=dict(checkpoint='apple://mobileclip2_s2')),
    neck=dict(in_channels=[160, 320, 640]))
