_base_ = 'deeplabv3plus_fastvit_sa12_ade20k.py'

model = dict(
    backbone=dict(arch='t8'),
    decode_head=dict(in_channels=384, c1_in_channels=48),
    auxiliary_head=dict(in_channels=192))
