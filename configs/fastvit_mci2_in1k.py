_base_ = 'fastvit_mci0_in1k.py'

init_cfg = dict(checkpoint='apple://mobileclip2_s2')
model = dict(
    backbone=dict(arch='mci2', init_cfg=init_cfg),
    neck=dict(in_channels=640, init_cfg=init_cfg),
    head=dict(in_channels=1280))
