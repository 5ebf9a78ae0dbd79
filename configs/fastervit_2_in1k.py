_base_ = 'fastervit_1_in1k.py'

model = dict(
    backbone=dict(arch='2'),
    head=dict(in_channels=768))
