_base_ = 'fastervit_1_in1k.py'

model = dict(
    backbone=dict(arch='5'),
    head=dict(in_channels=2560))

optim_wrapper = dict(optimizer=dict(type='Lamb'))
