_base_ = 'fastervit_1_in1k.py'

model = dict(
    backbone=dict(arch='4'),
    head=dict(in_channels=1568))

optim_wrapper = dict(optimizer=dict(type='Lamb'))
