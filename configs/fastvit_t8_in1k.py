_base_ = 'fastvit_sa12_in1k.py'

model = dict(
    backbone=dict(arch='t8', drop_path_rate=0.),
    neck=dict(in_channels=384),
    head=dict(in_channels=768))
