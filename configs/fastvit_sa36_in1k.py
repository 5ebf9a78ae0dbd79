_base_ = 'fastvit_sa12_in1k.py'

model = dict(backbone=dict(arch='sa36', drop_path_rate=0.2))

test_pipeline = [
    dict(type='LoadImageFromFile'),
    # The two largest are tested with a crop ratio of 0.95: 256 / 0.95 = 269.
    dict(
        type='ResizeEdge',
        scale=269,
        edge='short',
        backend='pillow',
        interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=256),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
