_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(
    data_preprocessor=dict(
        mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232]),
    backbone=dict(
        arch='mci3',
        init_cfg=dict(checkpoint='apple://mobileclip2_s3')),
    neck=dict(in_channels=[192, 384, 768]))
