_base_ = 'fastvit_sa36_in1k.py'

model = dict(
    backbone=dict(arch='ma36', drop_path_rate=0.35),
    neck=dict(in_channels=608),
    head=dict(in_channels=1216))
