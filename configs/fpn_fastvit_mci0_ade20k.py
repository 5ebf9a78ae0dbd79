_base_ = 'fpn_fastvit_sa12_ade20k.py'

model = dict(
    data_preprocessor=dict(mean=[0., 0., 0.], std=[255., 255., 255.]),
    backbone=dict(
        arch='mci0',
        init_cfg=dict(checkpoint='apple://mobileclip2_s0')))
