_base_ = 'maskrcnn_fastvit_sa12_coco.py'

model = dict(
    data_preprocessor=dict(
        mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232]),
    backbone=dict(
        arch='mci4',
        init_cfg=dict(checkpoint='apple://mobileclip2_s4')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
