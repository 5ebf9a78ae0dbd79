_base_ = 'handmesh_fastvit_sa12_freihand.py'

model = dict(
    backbone=dict(arch='ma36', drop_path_rate=0.2),
    neck=dict(in_channels=608),
    head=dict(in_channels=1216, lateral_channels=152))
