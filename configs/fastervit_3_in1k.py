_base_ = 'fastervit_1_in1k.py'

model = dict(
    backbone=dict(arch='3'),
    head=dict(in_channels=1024))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=35, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, begin=35),
]
