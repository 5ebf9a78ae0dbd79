_base_ = 'mask2former_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(arch='t8'),
    panoptic_head=dict(in_channels=[48, 96, 192, 384]))
