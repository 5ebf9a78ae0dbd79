# The same on generated hands, from scratch, for two CPU cores; `make demo-hand` trains
# it.
_base_ = 'handmesh_fastvit_sa12_freihand.py'

model = dict(
    backbone=dict(drop_path_rate=0., init_cfg=None),
    neck=dict(init_cfg=None),
    head=dict(drop_path_rate=0.))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='HandCrop', size=96, scale=(0.92, 1.1), shift=0.03),
    dict(type='PackHandInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='PackHandInputs'),
]
dataset = dict(
    data_root='data/hands', versions=('gs', ), hand_file='hand.safetensors')
train_dataloader = dict(
    batch_size=8,
    # Workers would take the cores that train.
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**dataset, split='trainval', pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2, dataset=dict(**dataset, split='test', pipeline=test_pipeline))
test_dataloader = dict(
    num_workers=2, dataset=dict(**dataset, pipeline=test_pipeline))

optim_wrapper = dict(
    optimizer=dict(lr=3e-3),
    # They start at 1e-5, where blocks do nothing. In a training this short they have to
    # grow quickly.
    paramwise_cfg=dict(
        custom_keys={'layer_scale': dict(lr_mult=20., decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=30),
    dict(type='CosineAnnealingLR', T_max=6, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=6, val_interval=2)
default_hooks = dict(logger=dict(interval=10))
