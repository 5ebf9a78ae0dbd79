_base_ = 'fastvit_sa12_in1k.py'

model = dict(backbone=dict(arch='t12', drop_path_rate=0.))
