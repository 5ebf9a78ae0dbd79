_base_ = 'fastvit_sa12_in1k.py'

model = dict(backbone=dict(arch='s12', drop_path_rate=0.))
