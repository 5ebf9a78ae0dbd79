_base_ = 'mask2former_fastvit_sa12_ade20k.py'

model = dict(
    backbone=dict(arch='t8'),
    decode_head=dict(in_channels=[48, 96, 192, 384]))
