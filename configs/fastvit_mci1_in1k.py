_base_ = 'fastvit_mci0_in1k.py'

init_cfg = dict(checkpoint='apple://mobileclip_s1')
model = dict(
    backbone=dict(arch='mci1', init_cfg=init_cfg),
    neck=dict(init_cfg=init_cfg))
