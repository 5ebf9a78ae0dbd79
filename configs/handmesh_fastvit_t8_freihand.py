_base_ = 'handmesh_fastvit_sa12_freihand.py'

model = dict(
    backbone=dict(arch='t8', drop_path_rate=0.),
    neck=dict(in_channels=384),
    head=dict(in_channels=768, lateral_channels=96))
