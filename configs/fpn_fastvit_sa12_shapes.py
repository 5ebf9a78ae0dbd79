# The same segmentor with a light head on the generated shapes, from scratch,
# for two CPU cores; `make demo-seg` trains it.
_base_ = 'fpn_fastvit_sa12_ade20k.py'

crop_size = (128, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(init_cfg=None),
    neck=dict(out_channels=64, norm_cfg=dict(type='BN')),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=4))

# One colour each, for the pictures that tools/visualize.py draws.
dataset = dict(
    type='BaseSegDataset',
    data_root='data/shapes/',
    img_suffix='.png',
    metainfo=dict(
        classes=('ground', 'circle', 'square', 'triangle'),
        palette=[[64, 64, 64], [230, 80, 60], [60, 160, 230], [250, 200, 50]]))
resize = dict(type='Resize', scale=crop_size, keep_ratio=True)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        **dataset,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            resize,
            dict(
                type='RandomFlip',
                prob=[0.25, 0.25, 0.25],  # shapes look the same either way up
                direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='PackSegInputs'),
        ]))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **dataset,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            resize,
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ]))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=900, val_interval=900)
default_hooks = dict(checkpoint=dict(interval=900))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0., end=900, by_epoch=False),
]
optim_wrapper = dict(
    optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.))
