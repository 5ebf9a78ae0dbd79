# The same with a FasterViT, on pictures of 2x2 windows: carrier tokens count.
_base_ = 'tiny_classifier.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch=dict(
            depths=(1, 1, 2, 1),
            embed_dims=(16, 32, 64, 128),
            stem_channels=16,
            num_heads=(2, 2, 4, 8),
            window_sizes=(7, 7, 2, 2),
            layer_scale_init_value=1.,
            propagates=True),
        out_indices=(3, ),
        norm_eval=True),
    head=dict(in_channels=128))

dataset = dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs'),
])
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
