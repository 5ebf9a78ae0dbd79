_base_ = 'dino_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(arch='t8'),
    neck=dict(in_channels=[96, 192, 384]))
