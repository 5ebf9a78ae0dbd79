_base_ = 'cascademaskrcnn_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(arch='t8'),
    neck=dict(in_channels=[48, 96, 192, 384]))
