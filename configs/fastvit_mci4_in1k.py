_base_ = 'fastvit_mci0_in1k.py'

data_preprocessor = dict(
    mean=[122.7709, 116.7460, 104.0937], std=[68.5005, 66.6322, 70.3232])
init_cfg = dict(checkpoint='apple://mobileclip2_s4')
model = dict(
    backbone=dict(arch='mci4', out_indices=(4, ), init_cfg=init_cfg),
    neck=dict(in_channels=2048, init_cfg=init_cfg),
    head=dict(in_channels=4096))
