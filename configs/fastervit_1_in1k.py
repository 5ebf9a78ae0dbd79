# The recipe of variant 0; its authors test all but that on whole pictures.
_base_ = 'fastervit_0_in1k.py'

model = dict(
    backbone=dict(arch='1'),
    head=dict(in_channels=640))

test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 224
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
