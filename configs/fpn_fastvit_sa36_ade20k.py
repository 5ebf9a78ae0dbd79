_base_ = 'fpn_fastvit_sa12_ade20k.py'

model = dict(backbone=dict(arch='sa36'))
